//! Leads connections to the API server into the gateway: loads the kernel programs, attaches them
//! to a cgroup, and keeps the list of destinations.
//!
//! ```text
//! process in the cgroup          connect4, connect6 (package `ebpf`)         gateway
//!   connect(10.96.0.1:443) ───▶  DESTINATIONS: hit ─▶ 127.0.0.1:15001  ───▶  listener
//!   connect(192.0.2.7:443) ───▶  DESTINATIONS: miss, passes untouched
//! ```
//!
//! The listener's port stands for the original destination, so no table of connections exists that
//! could lose an entry. The hooks live as long as the [`Redirect`] that attached them.

use std::{collections::BTreeMap, fs::File, path::Path};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray},
    programs::{CgroupAttachMode, CgroupSockAddr},
};
use sallyport_common::{Counter, Destination, Listener, MAX_DESTINATIONS};

pub use self::{
    address::{Action, Guarded, ListenerPort, OrigDstAddr},
    bpffs::{BPFFS, mount_bpffs},
    cgroup::{Cgroup2, cgroup2_mount},
    error::Error,
    events::{ForwardedEvents, KernelEvents},
    syscall::netns_cookie,
};

mod address;
mod bpffs;
mod cgroup;
mod error;
mod events;
mod object;
mod syscall;

const PROGRAMS: [&str; 2] = ["connect4", "connect6"];

/// The kernel programs, loaded. Dropping it detaches and unloads them.
pub struct Redirect {
    ebpf: Ebpf,
    destinations: HashMap<MapData, Destination, Listener>,
    counters: PerCpuArray<MapData, u64>,
}

impl Redirect {
    /// Loads the programs and hands out their events. Nothing is redirected yet.
    pub fn load() -> Result<(Self, KernelEvents), Error> {
        let mut ebpf = Ebpf::load(object::bytes()?).map_err(Error::from_load)?;
        for name in PROGRAMS {
            program(&mut ebpf, name)?
                .load()
                .map_err(|error| Error::from_program(name, error))?;
        }
        let events = KernelEvents::of(&mut ebpf)?;
        let destinations = typed_map(&mut ebpf, "DESTINATIONS")?;
        let counters = typed_map(&mut ebpf, "COUNTERS")?;
        Ok((
            Self {
                ebpf,
                destinations,
                counters,
            },
            events,
        ))
    }

    /// Attaches the programs to a cgroup's directory: they see every socket made in it or below.
    ///
    /// Set the destinations first, or connections pass until they are set.
    pub fn attach(&mut self, cgroup: &Path) -> Result<(), Error> {
        let directory = File::open(cgroup).map_err(|source| Error::OpenCgroup {
            cgroup: cgroup.to_owned(),
            source,
        })?;
        for name in PROGRAMS {
            // `Single` makes a link, which lets other links be; `AllowMultiple` the kernel refuses.
            program(&mut self.ebpf, name)?
                .attach(&directory, CgroupAttachMode::Single)
                .map_err(|error| Error::from_attach(name, cgroup, error))?;
        }
        Ok(())
    }

    /// Makes `wanted` the whole list. An entry that stays is in force throughout.
    pub fn set_destinations(
        &mut self,
        wanted: &BTreeMap<OrigDstAddr, Action>,
    ) -> Result<(), Error> {
        if wanted.len() > MAX_DESTINATIONS as usize {
            return Err(Error::TooManyDestinations {
                got: wanted.len(),
                room: MAX_DESTINATIONS,
            });
        }
        let wanted: std::collections::HashMap<Destination, Listener> = wanted
            .iter()
            .map(|(destination, action)| (destination.into(), (*action).into()))
            .collect();
        self.remove_destinations_except(&wanted)?;
        for (destination, listener) in &wanted {
            self.destinations.insert(destination, listener, 0)?;
        }
        Ok(())
    }

    fn remove_destinations_except(
        &mut self,
        wanted: &std::collections::HashMap<Destination, Listener>,
    ) -> Result<(), Error> {
        let present = self.destinations.keys().collect::<Result<Vec<_>, _>>()?;
        for destination in present.iter().filter(|key| !wanted.contains_key(key)) {
            self.destinations.remove(destination)?;
        }
        Ok(())
    }

    /// What the programs have decided since they were loaded.
    pub fn decisions(&self) -> Result<Decisions, Error> {
        Ok(Decisions {
            redirected_v4: self.count(Counter::RedirectedV4)?,
            redirected_v6: self.count(Counter::RedirectedV6)?,
            redirected_v4_mapped: self.count(Counter::RedirectedV4Mapped)?,
            denied: self.count(Counter::Denied)?,
        })
    }

    fn count(&self, counter: Counter) -> Result<u64, Error> {
        let per_cpu = self.counters.get(&(counter as u32), 0)?;
        Ok(per_cpu.iter().sum())
    }
}

/// How often the programs took each decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decisions {
    pub redirected_v4: u64,
    pub redirected_v6: u64,
    pub redirected_v4_mapped: u64,
    pub denied: u64,
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut CgroupSockAddr, Error> {
    let program = ebpf
        .program_mut(name)
        .ok_or(Error::MissingFromObject { name })?;
    program
        .try_into()
        .map_err(|_| Error::MissingFromObject { name })
}

fn typed_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf
        .take_map(name)
        .ok_or(Error::MissingFromObject { name })?;
    Ok(T::try_from(map)?)
}
