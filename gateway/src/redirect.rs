//! Leads agents' connections to the API server into the gateway: loads the kernel programs, attaches them to
//! cgroups, and tells them what they have to know.
//!
//! ```text
//! process in an agent pod        connect4, connect6 (package `ebpf`)         gateway
//!   connect(10.96.0.1:443) ───▶  DESTINATIONS: hit ─▶ 127.0.0.1:15300  ───▶  listener in the pod
//!   connect(192.0.2.7:443) ───▶  DESTINATIONS: miss, passes untouched
//! process in another pod
//!   connect(10.96.0.1:443) ───▶  DESTINATIONS: hit, PODS: PASS, passes untouched
//! ```
//!
//! The listener's port stands for the original destination, so no table of connections exists that could lose an
//! entry. Maps and links are pinned: they work on when this process ends, and are taken over by the next one,
//! whose programs replace the old ones in one step. Only [`uninstall`] takes them away.
//!
//! In order: [`Redirect::open`], classify what must pass, set the destinations and what is guarded, then
//! [`Redirect::attach`]. For each agent pod [`Redirect::guard_ports`], its listeners, [`Redirect::classify`], and
//! [`Redirect::enforce`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sallyport_common::{Destination, Listener, MAX_DESTINATIONS, MAX_GUARDED, MAX_PODS};

pub use self::{
    address::{Action, ListenerPort, OrigDstAddr},
    bpffs::{BPFFS, mount_bpffs},
    cgroup::{Cgroup2, cgroup2_mount},
    decisions::Decisions,
    error::Error,
    events::{ForwardedEvents, KernelEvents},
    guarded::Guarded,
    observe::{Foreign, Observed, Trouble, TroubleKind},
    options::{Options, ReservedPorts},
    pod::{CgroupId, PodCgroup},
    probe::{Finding, Verdict, probe},
    repair::{Attachment, Repaired},
    syscall::netns_cookie,
    uninstall::{Removed, uninstall},
};
use self::{attached::Attached, hooks::Programs, map_pins::MapPins, maps::Maps, pins::Pins};
pub use sallyport_common::{PodState, Unclassified};

mod address;
mod attached;
mod bpffs;
mod cgroup;
mod conflict;
mod connections;
mod decisions;
mod error;
mod events;
mod guarded;
mod hooks;
mod links;
mod map_pins;
mod maps;
mod object;
mod observe;
mod options;
mod pins;
mod pod;
mod probe;
mod repair;
mod syscall;
mod uninstall;

/// The kernel programs of a node. Dropping it leaves everything attached and pinned as it is.
pub struct Redirect {
    options: Options,
    programs: Programs,
    maps: Maps,
    map_pins: MapPins,
    pins: Pins,
    /// None until it is attached.
    kubepods: Option<Attached>,
    pods: BTreeMap<CgroupId, Attached>,
}

impl Redirect {
    /// Loads the programs and hands out their events. Pinned maps of the same ABI are used again with all they
    /// hold. Nothing is attached: what an earlier process attached runs on.
    pub fn open(options: &Options) -> Result<(Self, KernelEvents), Error> {
        let pins = Pins::make(&options.pins)?;
        let mut ebpf = object::load(&pins)?;
        let programs = Programs::load(&mut ebpf)?;
        let events = KernelEvents::of(&mut ebpf)?;
        let maps = Maps::of(&mut ebpf)?;
        let mut redirect = Self {
            options: options.clone(),
            programs,
            maps,
            map_pins: MapPins::hold(&pins)?,
            pins,
            kubepods: None,
            pods: BTreeMap::new(),
        };
        redirect.write_settings()?;
        Ok((redirect, events))
    }

    /// Whether an earlier process filled every map without which programs let pass what they should not. One of them
    /// may be new, where the version of the ABI or somebody's hand took the old one away.
    pub fn is_told(&self) -> Result<bool, Error> {
        let maps = &self.maps;
        Ok(maps::has_any(&maps.destinations)?
            && maps::has_any(&maps.guarded)?
            && maps::has_any(&maps.guarded_addresses)?
            && maps::has_any(&maps.pods)?)
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
        let wanted = wanted
            .iter()
            .map(|(destination, action)| (destination.into(), (*action).into()))
            .collect::<std::collections::HashMap<Destination, Listener>>();
        maps::replace(&mut self.maps.destinations, &wanted)
    }

    /// The list as it is, by this process or an earlier one.
    pub fn destinations(&self) -> Result<BTreeMap<OrigDstAddr, Action>, Error> {
        let entries = self.maps.destinations.iter();
        entries
            .map(|entry| {
                entry.map(|(destination, listener)| ((&destination).into(), listener.into()))
            })
            .collect::<Result<_, _>>()
            .map_err(Error::from)
    }

    /// Makes `wanted` the whole list of what agents' packets are kept from. What is in the old list and in the
    /// new one is guarded throughout, also where one names a port and the other all of them.
    pub fn set_guarded(&mut self, wanted: &BTreeSet<Guarded>) -> Result<(), Error> {
        if wanted.len() > MAX_GUARDED as usize {
            return Err(Error::TooManyGuarded {
                got: wanted.len(),
                room: MAX_GUARDED,
            });
        }
        let ports: std::collections::HashMap<Destination, u8> =
            wanted.iter().map(|guarded| (guarded.into(), 1)).collect();
        let addresses = ports.keys().map(|key| (key.address, 1)).collect();
        // Programs look at the address first: it comes after its ports, and goes before them.
        maps::insert_all(&mut self.maps.guarded, &ports)?;
        maps::replace(&mut self.maps.guarded_addresses, &addresses)?;
        maps::retain(&mut self.maps.guarded, &ports)
    }

    /// What is guarded, by this process or an earlier one.
    pub fn guarded(&self) -> Result<BTreeSet<Guarded>, Error> {
        let entries = self.maps.guarded.keys();
        entries
            .map(|entry| entry.map(|destination| (&destination).into()))
            .collect::<Result<_, _>>()
            .map_err(Error::from)
    }

    /// Says what a pod is. Until then it is [`Options::unclassified`].
    pub fn classify(&mut self, pod: CgroupId, state: PodState) -> Result<(), Error> {
        match self.maps.pods.insert(pod.0, state, 0) {
            Err(error) if maps::is_full(&error) => Err(Error::TooManyPods { room: MAX_PODS }),
            inserted => Ok(inserted?),
        }
    }

    /// What was said of pods, by this process or an earlier one.
    pub fn classified(&self) -> Result<BTreeMap<CgroupId, PodState>, Error> {
        let pods = self.maps.pods.iter();
        pods.map(|entry| entry.map(|(id, state)| (CgroupId(id), state)))
            .collect::<Result<_, _>>()
            .map_err(Error::from)
    }

    /// Keeps a pod's processes from the listeners' ports. Comes before its listeners.
    pub fn guard_ports(&mut self, pod: &PodCgroup) -> Result<(), Error> {
        self.attach_to_pod(pod, &hooks::PORTS)
    }

    /// Redirects the connections of sockets that are made in the pod, whoever uses them, and drops its packets
    /// to what is guarded. Comes after its listeners.
    pub fn enforce(&mut self, pod: &PodCgroup) -> Result<(), Error> {
        self.attach_to_pod(pod, &hooks::ENFORCEMENT)
    }

    /// Forgets a pod that is gone, or is no agent any more: what it is, and all that is attached to it.
    pub fn forget(&mut self, pod: CgroupId) -> Result<(), Error> {
        let attached = self.pods.remove(&pod);
        links::detach_all(&self.pins.pod(pod))?;
        drop(attached);
        maps::remove(&mut self.maps.pods, &pod.0)?;
        self.forget_connections(pod)
    }

    /// Pods with something attached, by this process or an earlier one, after [`Redirect::attach`].
    pub fn attached_pods(&self) -> impl Iterator<Item = CgroupId> {
        self.pods.keys().copied()
    }

    /// Whether something of ours is attached to the pod's cgroup, which is there then.
    pub fn is_linked(&self, pod: CgroupId) -> Result<bool, Error> {
        links::any_is_attached(&self.pins.pod(pod))
    }

    fn write_settings(&mut self) -> Result<(), Error> {
        let kubepods = pod::OpenCgroup::open(&self.options.kubepods)?;
        let settings = self.options.settings(kubepods.id);
        if self.maps.settings.get(&0, 0)? != settings {
            self.maps.settings.set(0, settings, 0)?;
        }
        Ok(())
    }

    fn kubepods_path(&self) -> &Path {
        &self.options.kubepods
    }
}
