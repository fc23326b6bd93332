//! The node agent: finds agents' pods, and keeps each one's way to the API server leading to the gateway. It parses
//! nothing that an agent sent.
//!
//! ```text
//! cgroups ─┐                     ┌─▶ redirect      what the kernel does with a connection
//! informers ├─▶ agent: desired   ├─▶ listeners     sockets inside of the pods' networks
//! destinations ┘   against       ├─▶ peers         gateways, and the node agent that comes next
//!                  observed      └─▶ snapshot      what the cluster and its people are told
//! ```
//!
//! `agent` alone decides and acts; what the manual says of [capture](crate::manual::capture) happens there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{
    agent::{Agent, End, Inputs, Outputs},
    cgroups::Cgroups,
    destinations::{Destinations, Inherited},
    informers::Informers,
    metrics::Metrics,
    netns::Host,
    publish::CoverageMetrics,
    snapshot::Snapshot,
};
use crate::{
    config::node::{NodeConfig, Profile},
    readiness::{BlockReady, Readiness},
    redirect::{self, Redirect, ReservedPorts, Unclassified},
};

pub use self::{destinations::show_destinations, kubepods::kubepods, peers::SocketError};

mod agent;
mod cgroups;
mod desired;
mod destinations;
mod informers;
mod kubepods;
mod label;
mod layout;
mod listeners;
mod metrics;
mod netns;
mod peers;
mod pods;
mod ports;
mod publish;
mod snapshot;

/// Why the node agent cannot begin. Once it has begun, nothing that goes wrong ends it.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the kernel's part of capture cannot be set up")]
    Redirect(#[from] redirect::Error),
    #[error("the node's own network {} cannot be told from its pods': is the host's /proc there?", path.display())]
    HostNetns {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the cgroups of this node's pods cannot be read: is the host's cgroup file system there?"
    )]
    Cgroups(#[source] std::io::Error),
    #[error("the node agent that took over has gone: this one ends, to be started afresh")]
    Abandoned,
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// What the node agent is given.
pub struct Parts<'a> {
    pub config: NodeConfig,
    pub client: Client,
    pub registry: &'a mut Registry,
    pub readiness: Readiness,
    /// Let go of once the node agent says itself whether it is ready.
    pub starting: BlockReady,
}

/// A node agent that has everything it needs.
pub struct Node {
    config: Arc<NodeConfig>,
    client: Client,
    readiness: Readiness,
    starting: BlockReady,
    metrics: Metrics,
    coverage: CoverageMetrics,
    host: Host,
}

impl Node {
    pub fn new(parts: Parts<'_>) -> Result<Self, NodeError> {
        let config = Arc::new(parts.config);
        let host =
            Host::new(&config.proc, &config.host_netns).map_err(|source| NodeError::HostNetns {
                path: config.host_netns.clone(),
                source,
            })?;
        Ok(Self {
            metrics: Metrics::new(parts.registry),
            coverage: CoverageMetrics::new(parts.registry),
            config,
            client: parts.client,
            readiness: parts.readiness,
            starting: parts.starting,
            host,
        })
    }

    /// Works until `shutdown`, and then leaves everything as it is: what is pinned works on. Once another node agent
    /// has taken over, it waits for its end without doing anything, unless that one ends first.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let Some(kubepods) = self.kubepods(&shutdown).await? else {
            return Ok(());
        };
        let (redirect, events) = Redirect::open(&self.options(&kubepods)?)?;
        let _events = events.forward()?;
        // The one before stops acting by this: nothing that is left to do can fail for want of a privilege.
        let inherited = peers::take_over(&self.config.socket).await;
        let changed = Arc::new(Notify::new());
        let cgroups = Cgroups::new(kubepods, Arc::clone(&changed));
        let known = Inherited::of(&redirect)?;
        let (peers_sender, peers) = mpsc::channel(peers::QUEUE);
        let inputs = Inputs {
            informers: Informers::start(&self.client, &self.config, &changed),
            destinations: self.destinations(known),
            changed: Arc::clone(&changed),
            peers,
        };
        let socket = peers::listen(&self.config.socket, self.config.gateway_uid)?;
        let serving = CancellationToken::new();
        tokio::spawn(peers::serve(
            socket,
            self.config.gateway_uid,
            peers_sender,
            changed,
            serving.clone(),
        ));
        let readiness = self.readiness.clone();
        let config = Arc::clone(&self.config);
        let own_socket = config.socket.clone();
        let (host, outputs) = self.outputs();
        let mut agent = Agent::new(config, host, redirect, cgroups, &inputs, outputs);
        agent.begin(inherited)?;
        if agent.run(inputs, shutdown.clone()).await == End::Superseded {
            serving.cancel();
            let _superseded = readiness.register("superseded by another node agent");
            tracing::info!("superseded: waiting to be ended");
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = peers::abandoned(&own_socket) => return Err(NodeError::Abandoned),
            }
        }
        Ok(())
    }

    /// The cgroup of all pods, once there is one. None where the end comes first.
    async fn kubepods(&self, shutdown: &CancellationToken) -> Result<Option<PathBuf>, NodeError> {
        const AGAIN: Duration = Duration::from_secs(1);
        let mut told = false;
        loop {
            let found = kubepods(Some(&self.config))?.filter(|path| path.is_dir());
            if found.is_some() {
                return Ok(found);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    "there is no cgroup of pods yet: waiting for kubelet to make it; if it does not, check its cgroupsPerQOS and node.yaml's cgroupRoot and kubepods"
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = sleep(AGAIN) => {}
            }
        }
    }

    fn options(&self, kubepods: &Path) -> Result<redirect::Options, NodeError> {
        Ok(redirect::Options {
            pins: self.config.pins.clone(),
            kubepods: kubepods.to_owned(),
            host_netns: Some(self.host_netns_cookie()?),
            unclassified: match self.config.profile {
                Profile::Shared => Unclassified::Pass,
                Profile::Dedicated => Unclassified::Agent,
            },
            ports: ReservedPorts {
                first: self.config.ports.first.get(),
                count: self.config.ports.count.get(),
            },
        })
    }

    fn host_netns_cookie(&self) -> Result<u64, NodeError> {
        let path = &self.config.host_netns;
        let failed = |source| NodeError::HostNetns {
            path: path.clone(),
            source,
        };
        let netns = netns::PodNetns::open(path).map_err(failed)?;
        netns
            .inside(listeners::cookie_here)
            .and_then(|cookie| cookie.map_err(netns::NetnsError::Entering))
            .map_err(|error| failed(std::io::Error::other(error)))
    }

    fn destinations(&self, inherited: Inherited) -> watch::Receiver<Arc<Destinations>> {
        let (sender, receiver) = watch::channel(Arc::default());
        let (client, config) = (self.client.clone(), Arc::clone(&self.config));
        tokio::spawn(destinations::watch(client, config, inherited, sender));
        receiver
    }

    /// Starts everyone whom the agent tells what it sees.
    fn outputs(self) -> (Host, Outputs) {
        let (snapshots, published) = watch::channel(Arc::<Snapshot>::default());
        let (ready, labelled) = watch::channel(false);
        tokio::spawn(label::keep(
            self.client.clone(),
            self.config.node.clone(),
            labelled,
        ));
        tokio::spawn(publish::publish(
            self.client,
            self.config,
            published,
            self.coverage,
        ));
        let outputs = Outputs {
            readiness: self.readiness,
            starting: Some(self.starting),
            metrics: self.metrics,
            snapshots,
            ready,
        };
        (self.host, outputs)
    }
}
