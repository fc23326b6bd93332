//! The kernel programs, attached for one turn and taken off for the next.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sallyport::redirect::{
    self, Action, ForwardedEvents, Guarded, ListenerPort, Options, OrigDstAddr, PodCgroup,
    PodState, Redirect, ReservedPorts, Unclassified,
};

use crate::{
    cgroups::{Cgroups, Pod},
    network::{FAMILIES, LISTENER},
};

pub(crate) struct Hooks {
    redirect: Redirect,
    pins: PathBuf,
    agent: PodCgroup,
    /// Events are read, as they are on a node: with nobody to read them reporting costs less.
    _events: ForwardedEvents,
}

impl Hooks {
    /// Loads the programs and tells them all they have to know, and attaches nothing.
    pub(crate) fn load(cgroups: &Cgroups, pins: PathBuf, host_netns: u64) -> Result<Self> {
        let options = Options {
            pins: pins.clone(),
            kubepods: cgroups.kubepods().to_owned(),
            host_netns: Some(host_netns),
            unclassified: Unclassified::Pass,
            ports: ReservedPorts {
                first: LISTENER.get(),
                count: 256,
            },
        };
        let (mut redirect, events) = Redirect::open(&options)?;
        let agent = PodCgroup::at(cgroups.pod(Pod::Agent))?;
        let ordinary = PodCgroup::at(cgroups.pod(Pod::Ordinary))?;
        let to_gateway = Action::Redirect(ListenerPort::new(LISTENER));
        let destinations = FAMILIES.map(|family| (OrigDstAddr::new(family.api()), to_gateway));
        let guarded = FAMILIES.map(|family| {
            let api = family.api();
            Guarded::new(api.ip(), api.port().try_into().ok())
        });
        redirect.set_destinations(&destinations.into())?;
        redirect.set_guarded(&guarded.into())?;
        redirect.classify(agent.id, PodState::AGENT)?;
        redirect.classify(ordinary.id, PodState::PASS)?;
        Ok(Self {
            redirect,
            pins,
            agent,
            _events: events.forward()?,
        })
    }

    pub(crate) fn attach(&mut self) -> Result<()> {
        self.redirect.attach()?;
        self.redirect.guard_ports(&self.agent)?;
        self.redirect.enforce(&self.agent)?;
        Ok(())
    }

    /// Takes every program off its cgroup. They stay loaded, and so do their maps.
    pub(crate) fn detach(&self) -> Result<()> {
        redirect::uninstall(&self.pins)?;
        Ok(())
    }

    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("error: the programs stay attached until this process ends: {error}");
        }
    }
}
