//! Every way to the API server that the cluster knows, and what agents are kept from.
//!
//! | what | becomes |
//! |---|---|
//! | ClusterIPs of the Service `default/kubernetes`, its endpoints, configured names and addresses | redirected |
//! | ClusterIPs, external and load balancer addresses of any Service with one of these as an endpoint | redirected |
//! | node ports of such a Service | guarded |
//! | the kubelet's port on every node, the control plane's other ports beside the API server | guarded |
//! | the cloud's metadata service, unless `cloudMetadata: allow` | guarded |
//! | each of these for an hour after it went, and what there is no port for | redirected as room is left, else guarded |
//!
//! kube-proxy rewrites a Service's address behind our hooks, hence the second row. A node port is one address a
//! node, up to thousands of destinations with a port in every agent's pod each, for a way that nothing inside of a
//! cluster takes unless it means to get around the gateway: it is closed instead.
//!
//! While the API server is away, the last list stays in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::ControlFlow,
    sync::Arc,
};

use futures_util::{Stream, StreamExt};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{self, Duration, Instant},
};

use self::{
    announced::Announced,
    cluster::{Cluster, Compact, Node, Service, Slice},
    names::Resolved,
};
use crate::{
    config::node::NodeConfig,
    redirect::{self, Guarded, Redirect},
};

mod announced;
mod cluster;
mod metadata;
mod names;
mod objects;
mod ways;

/// A list that is complete as of one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Destinations {
    /// With the names for the certificate, each address being one without saying.
    pub(super) redirected: BTreeMap<SocketAddr, Vec<String>>,
    /// Contains every redirected one.
    pub(super) guarded: BTreeSet<Guarded>,
    /// What is not as it should be, for a person.
    pub(super) problems: Vec<String>,
}

/// What the kernel was told before this process began: it counts as having gone when this process began. Without it
/// a restart would open what was closed, while a name does not resolve or for an address that has just gone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Inherited {
    pub(super) redirected: BTreeSet<SocketAddr>,
    pub(super) guarded: BTreeSet<Guarded>,
}

impl Inherited {
    pub(super) fn of(redirect: &Redirect) -> Result<Self, redirect::Error> {
        let redirected = redirect.destinations()?.into_keys();
        Ok(Self {
            redirected: redirected.map(SocketAddr::from).collect(),
            guarded: redirect.guarded()?,
        })
    }
}

/// Objects of a page of the first list: a full EndpointSlice is some 30 KiB, a Node more.
const PAGE: u32 = 50;
/// Changes come in bursts; the first of one waits this long for the rest.
const BURST: Duration = Duration::from_millis(100);
/// How often it is asked whether something went an hour ago.
const EXPIRY: Duration = Duration::from_secs(30);

/// Sends every new list, the first once it is complete. Runs for ever.
pub(super) async fn watch(
    client: Client,
    config: Arc<NodeConfig>,
    inherited: Inherited,
    sender: watch::Sender<Arc<Destinations>>,
) {
    let announced = Announced::new(&config, names::cluster_domain(), inherited, Instant::now());
    let (resolving, resolved) = watch::channel(Resolved::default());
    tokio::join!(
        names::keep_resolved(&config.destinations.names, resolving),
        follow(client, announced, resolved, sender),
    );
}

/// Hands each new list to `show`, as JSON, until it has seen enough.
pub async fn show_destinations(
    client: Client,
    config: NodeConfig,
    mut show: impl FnMut(Value) -> ControlFlow<()>,
) {
    let (sender, mut receiver) = watch::channel(Arc::default());
    let shown = async {
        while receiver.changed().await.is_ok() {
            let shown = shown(&receiver.borrow_and_update());
            if show(shown).is_break() {
                return;
            }
        }
    };
    tokio::select! {
        () = watch(client, Arc::new(config), Inherited::default(), sender) => {}
        () = shown => {}
    }
}

fn shown(destinations: &Destinations) -> Value {
    let redirected = destinations.redirected.iter();
    let redirected = redirected.map(|(address, names)| json!({"address": address, "names": names}));
    let guarded = destinations
        .guarded
        .iter()
        .map(|guarded| match guarded.port() {
            Some(port) => SocketAddr::new(guarded.ip(), port.get()).to_string(),
            None => guarded.ip().to_string(),
        });
    json!({
        "redirected": redirected.collect::<Vec<_>>(),
        "guarded": guarded.collect::<Vec<_>>(),
        "problems": destinations.problems,
    })
}

async fn follow(
    client: Client,
    mut announced: Announced,
    mut resolved: watch::Receiver<Resolved>,
    sender: watch::Sender<Arc<Destinations>>,
) {
    let mut services = Box::pin(events::<Service>(&client));
    let mut slices = Box::pin(events::<Slice>(&client));
    let mut nodes = Box::pin(events::<Node>(&client));
    let mut expiry = time::interval(EXPIRY);
    let mut cluster = Cluster::default();
    let mut due = Some(Instant::now());
    loop {
        let changed = tokio::select! {
            Some(event) = services.next() => cluster.services.apply(event, Instant::now()),
            Some(event) = slices.next() => cluster.slices.apply(event, Instant::now()),
            Some(event) = nodes.next() => cluster.nodes.apply(event, Instant::now()),
            Ok(()) = resolved.changed() => {
                cluster.names = resolved.borrow_and_update().clone();
                true
            }
            _ = expiry.tick() => true,
            () = until(due), if due.is_some() => {
                due = None;
                if cluster.is_complete() {
                    publish(&sender, announced.update(&cluster, Instant::now()));
                }
                false
            }
        };
        if changed {
            due = due.or_else(|| Some(Instant::now() + BURST));
        }
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        time::sleep_until(due).await;
    }
}

fn publish(sender: &watch::Sender<Arc<Destinations>>, destinations: Destinations) {
    sender.send_if_modified(|last| {
        let first = last.redirected.is_empty();
        let changed = first || **last != destinations;
        if changed {
            tracing::info!(
                redirected = destinations.redirected.len(),
                guarded = destinations.guarded.len(),
                problems = ?destinations.problems,
                "the destinations have changed"
            );
            *last = Arc::new(destinations);
        }
        changed
    });
}

fn events<T: Compact>(
    client: &Client,
) -> impl Stream<Item = watcher::Result<watcher::Event<T::Object>>> + use<T> {
    let objects = Api::<T::Object>::all(client.clone());
    let pages = watcher::Config::default().page_size(PAGE);
    watcher(objects, pages).default_backoff()
}
