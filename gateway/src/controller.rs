//! The controller: keeps what people see of approvals and policies right, tells webhooks, and takes what they answer.
//!
//! Several replicas follow the same objects and one of them, the holder of the Lease, writes. Nothing here decides on
//! a call: gateways judge by policies, votes and their own clocks, also while no controller runs.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    alerts::{Pending, Sources, Telling, Writing},
    approvals::Approvals,
    asking::Asking,
    decisions::{Callbacks, Endpoints, Outcomes, Voting},
    election::{Election, Leadership},
    evidence::Evidence,
    glasses::Glasses,
    metrics::Metrics,
    policies::{Policies, WrittenPolicy},
    webhooks::{Kind, Webhooks},
};
pub use self::{
    evidence::{EvidenceError, query},
    webhooks::WebhookError,
};
use crate::{
    api::{
        alert,
        v1alpha1::{
            agent_stop::AgentStop, approval_request::ApprovalRequest, break_glass::BreakGlass,
            node_coverage::NodeCoverage,
        },
    },
    authn::FetchError,
    config::controller::ControllerConfig,
    drain::{self, DrainWatcher},
    informer::{self, Known},
    readiness::BlockReady,
};

mod alerts;
mod approvals;
mod asking;
mod decisions;
mod election;
mod evidence;
#[cfg(test)]
mod example;
mod glasses;
mod message;
mod metrics;
mod policies;
mod signature;
mod webhooks;

/// How long SIGTERM waits for votes that have been accepted.
const DRAINS_WITHIN: Duration = Duration::from_secs(10);

/// What a controller is made of.
pub struct Parts<'a> {
    pub config: ControllerConfig,
    pub client: Client,
    pub registry: &'a mut Registry,
    /// Where callbacks come in, and the certificate that they are shown.
    pub decisions: Option<(TcpListener, Arc<ServerConfig>)>,
    /// Where people read the evidence, likewise.
    pub evidence: Option<(TcpListener, Arc<ServerConfig>)>,
    /// Let go once the objects are known.
    pub starting: BlockReady,
}

pub struct Controller {
    config: ControllerConfig,
    client: Client,
    metrics: Metrics,
    asks: Arc<Webhooks>,
    alerts: Arc<Webhooks>,
    outcomes: Option<Arc<Outcomes>>,
    decisions: Option<(TcpListener, Arc<ServerConfig>)>,
    evidence: Option<(Evidence, (TcpListener, Arc<ServerConfig>))>,
    /// Of the leader, for the Service of decisions.
    address: Option<SocketAddr>,
    starting: BlockReady,
}

/// What a start would refuse.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("decisions.caFile cannot be used")]
    Outcomes(#[source] FetchError),
    #[error("decisions.secretFile: cannot read {}", path.display())]
    NoSecret {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("decisions.service needs this pod's address: set POD_IP from status.podIP")]
    NoAddress,
}

/// Reads every file that the configuration names, TLS excepted.
pub fn check(config: &ControllerConfig) -> Result<(), ControllerError> {
    let metrics = Metrics::default();
    Webhooks::open(Kind::Ask, &config.webhooks.ask, metrics.clone())?;
    Webhooks::open(Kind::Alert, &config.webhooks.alerts, metrics)?;
    if let Some(evidence) = &config.evidence {
        Evidence::open(evidence)?;
    }
    outcomes(config).map(drop)
}

fn outcomes(config: &ControllerConfig) -> Result<Option<Arc<Outcomes>>, ControllerError> {
    let Some(decisions) = &config.decisions else {
        return Ok(None);
    };
    let path = &decisions.secret_file;
    std::fs::read(path).map_err(|source| ControllerError::NoSecret {
        path: path.clone(),
        source,
    })?;
    let outcomes = Outcomes::open(decisions).map_err(ControllerError::Outcomes)?;
    Ok(Some(Arc::new(outcomes)))
}

impl Controller {
    pub fn new(parts: Parts<'_>) -> Result<Self, ControllerError> {
        let (config, metrics) = (parts.config, Metrics::new(parts.registry));
        let asks = Webhooks::open(Kind::Ask, &config.webhooks.ask, metrics.clone())?;
        let alerts = Webhooks::open(Kind::Alert, &config.webhooks.alerts, metrics.clone())?;
        let address = match (&config.decisions, &parts.decisions) {
            (Some(decisions), Some((listener, _))) if decisions.service.is_some() => {
                Some(address(listener)?)
            }
            _ => None,
        };
        let evidence = config.evidence.as_ref().map(Evidence::open).transpose()?;
        Ok(Self {
            address,
            evidence: evidence.zip(parts.evidence),
            outcomes: outcomes(&config)?,
            asks: Arc::new(asks),
            alerts: Arc::new(alerts),
            decisions: parts.decisions,
            client: parts.client,
            starting: parts.starting,
            config,
            metrics,
        })
    }

    /// Works until `shutdown`, writes the votes that came in, then lets another replica lead at once.
    pub async fn run(self, shutdown: CancellationToken) {
        let identity = identity();
        tracing::info!(identity, "standing for election");
        let (election, leadership) =
            Election::new(self.client.clone(), &self.config.namespace, identity);
        let followed = Followed::new(&self.client, &self.config.namespace);
        tokio::spawn(announce_synced(followed.clone(), self.starting));
        let pending = Arc::new(Pending::default());
        tokio::spawn(alerts::observe(followed.sources(), Arc::clone(&pending)));
        let released = CancellationToken::new();
        let electing = tokio::spawn(election.run(released.clone()));

        if let Some((evidence, listening)) = self.evidence {
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            tokio::spawn(evidence.serve(listening, client, metrics, shutdown.clone()));
        }
        let (trigger, drain) = drain::channel();
        if let (Some(listening), Some(outcomes)) = (self.decisions, self.outcomes) {
            let taking = Taking {
                config: self.config.clone(),
                client: self.client.clone(),
                metrics: self.metrics.clone(),
                outcomes,
                leadership: leadership.clone(),
            };
            taking.start(listening, drain, shutdown.clone());
        } else {
            drop(drain);
        }
        let house = House {
            config: self.config,
            client: self.client,
            metrics: self.metrics,
            asks: self.asks,
            alerts: self.alerts,
            address: self.address,
            followed,
            pending,
        };
        let ending = async {
            shutdown.cancelled().await;
            if let Err(busy) = trigger.drain(DRAINS_WITHIN).await {
                tracing::warn!(error = %busy, "votes that were accepted are not written");
            }
        };
        tokio::select! {
            () = ending => {}
            () = house.keep_whenever_leading(leadership) => {}
        }
        released.cancel();
        if electing.await.is_err() {
            tracing::error!("the election panicked: the next leader waits for the whole lease");
        }
    }
}

/// What takes people's decisions.
struct Taking {
    config: ControllerConfig,
    client: Client,
    metrics: Metrics,
    outcomes: Arc<Outcomes>,
    leadership: Leadership,
}

impl Taking {
    fn start(
        self,
        (listener, tls): (TcpListener, Arc<ServerConfig>),
        drain: DrainWatcher,
        shutdown: CancellationToken,
    ) {
        let Some(config) = self.config.decisions else {
            return;
        };
        let (sender, ballots) = decisions::ballots();
        let callbacks = Callbacks::new(
            config,
            sender,
            Arc::clone(&self.outcomes),
            self.leadership.clone(),
            drain,
            self.metrics.clone(),
        );
        let voting = Voting::new(self.client, self.outcomes, self.leadership, self.metrics);
        tokio::spawn(voting.run(ballots));
        tokio::spawn(decisions::serve(
            listener,
            tls,
            Arc::new(callbacks),
            shutdown,
        ));
    }
}

/// What the leader keeps in order.
struct House {
    config: ControllerConfig,
    client: Client,
    metrics: Metrics,
    asks: Arc<Webhooks>,
    alerts: Arc<Webhooks>,
    address: Option<SocketAddr>,
    followed: Followed,
    pending: Arc<Pending>,
}

impl House {
    async fn keep_whenever_leading(&self, mut leadership: Leadership) {
        loop {
            leadership.gained().await;
            tracing::info!("this replica leads");
            self.metrics.leader.set(1);
            let keeping = self.keep(leadership.clone());
            tokio::select! {
                () = leadership.lost() => {}
                () = keeping => {}
            }
            self.metrics.leader.set(0);
            tracing::warn!("this replica leads no more");
        }
    }

    async fn keep(&self, leadership: Leadership) {
        let (client, namespace) = (|| self.client.clone(), &self.config.namespace);
        let approvals = Approvals::new(
            client(),
            self.followed.approvals.clone(),
            self.config.approvals.retention.0,
            leadership.clone(),
        );
        let glasses = Glasses::new(
            client(),
            self.followed.glasses.clone(),
            self.config.approvals.retention.0,
            leadership.clone(),
        );
        let policies = Policies::new(client(), self.followed.policies.clone(), leadership.clone());
        let asking = Asking::new(
            client(),
            self.followed.approvals.clone(),
            Arc::clone(&self.asks),
            leadership.clone(),
        );
        let writing = Writing::new(
            client(),
            namespace,
            Arc::clone(&self.pending),
            leadership.clone(),
        );
        let telling = Telling::new(
            client(),
            namespace,
            self.followed.events.clone(),
            Arc::clone(&self.alerts),
            leadership.clone(),
        );
        tokio::join!(
            self.announce_address(leadership),
            approvals.keep(),
            glasses.keep(),
            policies.keep(),
            asking.keep(),
            writing.keep(),
            telling.keep(),
        );
    }

    async fn announce_address(&self, leadership: Leadership) {
        let decisions = self.config.decisions.as_ref();
        let service = decisions.and_then(|decisions| decisions.service.as_ref());
        if let (Some(service), Some(address)) = (service, self.address) {
            let (client, namespace) = (self.client.clone(), &self.config.namespace);
            let endpoints = Endpoints::new(client, namespace, service, address, leadership);
            endpoints.keep().await;
        }
    }
}

/// Where callbacks come in on this pod.
fn address(listener: &TcpListener) -> Result<SocketAddr, ControllerError> {
    let pod = std::env::var("POD_IP").ok();
    let pod: Option<IpAddr> = pod.and_then(|address| address.parse().ok());
    let listening = listener.local_addr().ok();
    pod.zip(listening)
        .map(|(pod, listening)| SocketAddr::new(pod, listening.port()))
        .ok_or(ControllerError::NoAddress)
}

/// Every object that it follows, on every replica.
#[derive(Clone)]
struct Followed {
    approvals: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    policies: watch::Receiver<Arc<Known<WrittenPolicy>>>,
    stops: watch::Receiver<Arc<Known<AgentStop>>>,
    glasses: watch::Receiver<Arc<Known<BreakGlass>>>,
    coverages: watch::Receiver<Arc<Known<NodeCoverage>>>,
    events: watch::Receiver<Arc<Known<Event>>>,
}

impl Followed {
    fn new(client: &Client, namespace: &str) -> Self {
        let alerts = format!("reportingComponent={}", alert::COMPONENT);
        Self {
            approvals: informer::follow(client),
            policies: informer::follow(client),
            stops: informer::follow(client),
            glasses: informer::follow(client),
            coverages: informer::follow(client),
            events: informer::follow_in(client, namespace, &alerts),
        }
    }

    fn sources(&self) -> Sources {
        Sources {
            stops: self.stops.clone(),
            coverages: self.coverages.clone(),
            approvals: self.approvals.clone(),
            glasses: self.glasses.clone(),
        }
    }
}

/// Lets readiness go once every kind of object has been heard of whole.
async fn announce_synced(mut followed: Followed, starting: BlockReady) {
    synced(&mut followed.approvals).await;
    synced(&mut followed.policies).await;
    synced(&mut followed.stops).await;
    synced(&mut followed.glasses).await;
    synced(&mut followed.coverages).await;
    synced(&mut followed.events).await;
    drop(starting);
}

async fn synced<K>(known: &mut watch::Receiver<Arc<Known<K>>>) {
    let heard = known.wait_for(|known| known.synced).await.map(drop);
    if heard.is_err() {
        // Nobody follows them any more: the process ends.
        std::future::pending::<()>().await;
    }
}

/// A replica that starts again is another one.
fn identity() -> String {
    let pod = std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let name = pod.unwrap_or_else(|| "controller".to_owned());
    format!("{name}_{}", Uuid::now_v7())
}
