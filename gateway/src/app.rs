//! The composition root: builds every part of the gateway, top to bottom, and owns the order of going down.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::stopping::StopSignal;
use crate::{
    admin::{self, Admin},
    api::alert::Alert,
    approval::Approvals,
    audit::{log::Log, metrics::LogMetrics, policies::PolicyArchive},
    authn::{AgentSet, AgentSource, Authenticator},
    config::{Config, Recording, Upgradable, Upstream as UpstreamConfig},
    drain::{self, DrainTrigger, DrainWatcher},
    mask,
    policy::{LevelPolicy, PolicySet, PolicySource},
    proxy::{self, Alerts, Captured, Decoys, Gateway, Parts, Upstream},
    readiness::Readiness,
    tls::{self, Leaves},
};

#[cfg(target_os = "linux")]
pub use self::node::{node_client, run_node};
use self::{
    alerts::AlertWriter,
    objects::{Objects, Told},
    reload::Reload,
};
pub use self::{
    check::check,
    controller::{check_controller, run_controller},
};

mod alerts;
mod capture;
mod check;
mod control;
mod controller;
mod decoys;
mod descriptors;
#[cfg(target_os = "linux")]
mod node;
mod objects;
mod reload;
mod renewal;
mod stopping;

/// Serves until SIGTERM or SIGINT.
pub async fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    tls::install_provider();
    let readiness = Readiness::default();
    let mut stop = StopSignal::register()?;
    let running = tokio::select! {
        // What serves is drained: it begins to serve with the last step of the start.
        biased;
        running = start(&config, &readiness) => running?,
        () = stop.received() => {
            tracing::info!("stopped before anything was served");
            return Ok(());
        }
    };
    stop.received().await;
    tracing::info!("draining");
    let _draining = readiness.register("drain");
    running.go_down(config.limits.drain.0).await
}

/// What runs, by when it ends.
struct Running {
    gateway: Arc<Gateway>,
    trigger: DrainTrigger,
    /// With the drain.
    serving: JoinSet<()>,
    shutdown: CancellationToken,
    record: RecordTasks,
    /// With the shutdown.
    background: JoinSet<()>,
}

/// Builds every part, and begins to serve once all are there.
async fn start(config: &Config, readiness: &Readiness) -> anyhow::Result<Running> {
    let fitting = descriptors::divide(config.capture.is_some())?;
    let starting = readiness.register("start");
    let mut registry = Registry::with_prefix("sallyport");

    let objects = Objects::follow(config).await?;
    let reload = Reload::open(config, objects.clone())?;
    reload.register(&mut registry);
    let mut told = objects.map_or_else(Told::nothing, |objects| {
        objects.tell(reload.in_force(), readiness.register("objects"))
    });
    let (log, shipper) =
        Log::open(&config.recording, &config.cluster).context("opening the record")?;
    let archive = PolicyArchive::open(&config.recording, &config.cluster)
        .context("opening the archive of policies")?;
    registry.register_collector(Box::new(LogMetrics::new(log.clone(), shipper.status())));
    let stops = told.pushing.take();
    let shutdown = CancellationToken::new();
    let mut background = JoinSet::new();
    let (alerts, raised) = alerts(config, &mut registry).await?;
    let given = Given {
        told,
        alerts,
        decoys: decoys(config, &shutdown, &mut background).await?,
        connections: fitting.connections,
        log: log.clone(),
    };
    let gateway = gateway(config, &reload, given, &mut registry, readiness).await?;

    let listeners = Listeners::open(config).await?;
    warn_of_choices(config);

    let (trigger, watcher) = drain::channel();
    let record = RecordTasks {
        shipping: tokio::spawn(shipper.run(shutdown.clone())),
        archiving: tokio::spawn(archive.clone().run(shutdown.clone())),
        log,
    };
    let mut serving = JoinSet::new();
    record_changes(&gateway, &watcher, &mut serving);
    if let Some(listener) = listeners.explicit {
        let tls = reload.leaves().explicit(&config.tls)?;
        serving.spawn(proxy::serve(
            listener,
            tls,
            Arc::clone(&gateway),
            watcher.clone(),
        ));
    }
    if let Some(capture) = &config.capture {
        let (gateway, leaves) = (Arc::clone(&gateway), reload.leaves().clone());
        let (captured, questions) = Captured::new(gateway, leaves, fitting.listeners, watcher);
        let waiting = readiness.register("capture");
        let client = capture::Client::new(capture, captured.clone(), questions, waiting);
        serving.spawn(async move { captured.serve_until_drain().await });
        // To the end: a node agent that comes back meanwhile needs the listeners.
        background.spawn(client.run(shutdown.clone()));
    } else {
        drop(watcher);
    }
    if let Some(listener) = listeners.admin {
        let answers = Arc::new(Admin {
            registry,
            readiness: readiness.clone(),
        });
        background.spawn(admin::serve(listener, answers, shutdown.clone()));
    }
    if let Some(control) = listeners.control {
        control.serve(
            Arc::clone(&gateway),
            stops,
            &mut background,
            shutdown.clone(),
        );
    }
    background.spawn(reload.run(archive, shutdown.clone()));
    if let Some((writer, raised)) = raised {
        background.spawn(writer.run(raised, shutdown.clone()));
    }
    drop(starting);
    Ok(Running {
        gateway,
        trigger,
        serving,
        shutdown,
        record,
        background,
    })
}

impl Running {
    async fn go_down(mut self, limit: Duration) -> anyhow::Result<()> {
        if let Err(busy) = self.trigger.drain(limit).await {
            tracing::warn!(error = %busy, "ending what is left: upgraded connections are recorded as aborted, calls without an answer as unknown");
        }
        // Nothing new can come now. What was answered is recorded, then shipped, then the log is sealed.
        while let Some(ended) = self.serving.join_next().await {
            ended.context("a part of the gateway panicked")?;
        }
        self.gateway.settle().await;
        self.shutdown.cancel();
        self.record.end().await?;
        self.background.join_all().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// All that is listened on, before anything is served.
struct Listeners {
    explicit: Option<TcpListener>,
    admin: Option<TcpListener>,
    control: Option<control::Listening>,
}

impl Listeners {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            explicit: match &config.explicit {
                Some(explicit) => Some(listen("explicit", explicit.listen).await?),
                None => None,
            },
            admin: match &config.admin {
                Some(admin) => Some(listen("admin", admin.listen).await?),
                None => None,
            },
            control: match &config.control {
                Some(control) => Some(control::Listening::open(control).await?),
                None => None,
            },
        })
    }
}

/// What becomes of the record once it is written.
struct RecordTasks {
    shipping: JoinHandle<()>,
    archiving: JoinHandle<()>,
    log: Log,
}

impl RecordTasks {
    /// After the shutdown.
    async fn end(self) -> anyhow::Result<()> {
        self.shipping.await.context("the shipper panicked")?;
        self.archiving
            .await
            .context("the archive of policies panicked")?;
        self.log.close().await;
        Ok(())
    }
}

/// Records what is no call: floods of refusals, stops, and what people let pass.
fn record_changes(gateway: &Arc<Gateway>, watcher: &DrainWatcher, serving: &mut JoinSet<()>) {
    let given = || (Arc::clone(gateway), watcher.clone());
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_refusals(watcher).await });
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_stops(watcher).await });
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_glasses(watcher).await });
}

/// What the data path is given by other parts.
struct Given {
    told: Told,
    alerts: Alerts,
    decoys: Decoys,
    /// How many may be open.
    connections: usize,
    log: Log,
}

/// Builds the data path from what the configuration says.
async fn gateway(
    config: &Config,
    reload: &Reload,
    given: Given,
    registry: &mut Registry,
    readiness: &Readiness,
) -> anyhow::Result<Arc<Gateway>> {
    let node = node_name(config);
    let upstream = upstream_config(&config.upstream).await?;
    Ok(Arc::new(Gateway::new(Parts {
        cluster: config.cluster.clone(),
        authn: authenticator(config, &upstream, reload.agents())?.named(&*node),
        policies: reload.policies(),
        stops: given.told.stops,
        glasses: given.told.glasses,
        namespaces: given.told.namespaces,
        levels: reload.levels(),
        log: given.log,
        key: reload.key(),
        approvals: approvals(config, &upstream, &node, readiness)?,
        node,
        upstream: Upstream::new(&upstream)?,
        metrics: proxy::Metrics::new(registry),
        decoys: given.decoys,
        upgrades: config.upgrades.clone(),
        connections: given.connections,
        buffered_bytes: config.limits.buffered_bytes.0,
        per_principal: config.limits.per_principal.clone(),
        alerts: given.alerts,
        read_lag: config.recording.read_lag,
    })))
}

/// Whom the data path tells of what somebody must look at: nobody where the objects of the cluster do not count.
async fn alerts(
    config: &Config,
    registry: &mut Registry,
) -> anyhow::Result<(Alerts, Option<(AlertWriter, mpsc::Receiver<Alert>)>)> {
    let Some(objects) = &config.objects else {
        return Ok((Alerts::default(), None));
    };
    let upstream = upstream_config(&config.upstream).await?;
    let client = kube::Client::try_from(upstream).context("making a client for alerts")?;
    let writer = AlertWriter::new(client, &objects.namespace, &node_name(config));
    let (alerts, raised) = Alerts::new(registry);
    Ok((alerts, Some((writer, raised))))
}

/// Where the objects of the cluster count, people can be asked.
fn approvals(
    config: &Config,
    upstream: &kube::Config,
    node: &str,
    readiness: &Readiness,
) -> anyhow::Result<Option<Approvals>> {
    let Some(objects) = &config.objects else {
        return Ok(None);
    };
    let client = kube::Client::try_from(upstream.clone())
        .context("making a client for requests for approval")?;
    let namespace = objects.namespace.clone();
    let approvals = Approvals::follow(client, node.to_owned(), namespace);
    let (synced, waiting) = (approvals.synced(), readiness.register("approvals"));
    tokio::spawn(async move {
        synced.await;
        drop(waiting);
    });
    Ok(Some(approvals))
}

/// The decoys that are configured, and the task that stops who reads one, where that is wanted.
async fn decoys(
    config: &Config,
    shutdown: &CancellationToken,
    background: &mut JoinSet<()>,
) -> anyhow::Result<Decoys> {
    let secrets = config.decoys.secrets.iter().map(|decoy| mask::SecretName {
        namespace: decoy.namespace.clone(),
        name: decoy.name.clone(),
    });
    if !config.decoys.stop_session {
        return Ok(Decoys::new(secrets.collect()));
    }
    let (decoys, caught) = Decoys::telling(secrets.collect());
    let upstream = upstream_config(&config.upstream).await?;
    let client = kube::Client::try_from(upstream).context("making a client for the API server")?;
    background.spawn(decoys::stop_sessions(client, caught, shutdown.clone()));
    Ok(decoys)
}

fn authenticator(
    config: &Config,
    upstream: &kube::Config,
    agents: watch::Receiver<Arc<AgentSet>>,
) -> anyhow::Result<Authenticator> {
    let client =
        kube::Client::try_from(upstream.clone()).context("making a client for the API server")?;
    let accept = allows_service_account_tokens(config);
    Ok(Authenticator::new(
        &config.authentication,
        accept,
        client,
        agents,
    )?)
}

fn level_policy(recording: &Recording) -> anyhow::Result<LevelPolicy> {
    let Some(path) = &recording.policy_file else {
        return Ok(LevelPolicy::shipped());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading recording.policyFile {}", path.display()))?;
    LevelPolicy::parse(&text, recording.allow_none)
        .with_context(|| format!("in {}", path.display()))
}

fn allows_service_account_tokens(config: &Config) -> bool {
    let explicit = config.explicit.as_ref();
    explicit.is_some_and(|explicit| explicit.allow_service_account_tokens)
}

fn leaves(config: &Config) -> anyhow::Result<Leaves> {
    Leaves::load(&config.tls).context("preparing the serving certificate")
}

/// For the gateway's own calls and watches.
async fn upstream_config(upstream: &UpstreamConfig) -> anyhow::Result<kube::Config> {
    let mut config = configured(upstream).await?;
    // A list whose connection has died behind its head would be waited for without an end, and nothing of its kind be
    // heard again. Our watches end within 10 s, so nothing that lives is silent for so long.
    config.read_timeout = Some(Duration::from_secs(30));
    config.reset_reader_on_write = true;
    Ok(config)
}

async fn configured(upstream: &UpstreamConfig) -> anyhow::Result<kube::Config> {
    let Some(path) = &upstream.kubeconfig else {
        return kube::Config::incluster()
            .context("upstream.kubeconfig is not set and this is not a pod of a cluster");
    };
    let kubeconfig = kube::config::Kubeconfig::read_from(path)
        .with_context(|| format!("reading upstream.kubeconfig {}", path.display()))?;
    let options = kube::config::KubeConfigOptions {
        context: upstream.context.clone(),
        ..Default::default()
    };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("using upstream.kubeconfig {}", path.display()))
}

async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address} for {name}; does something else listen there?")
    })?;
    tracing::info!(listener = name, addr = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn warn_of_choices(config: &Config) {
    if allows_service_account_tokens(config) {
        tracing::warn!(
            "explicit.allowServiceAccountTokens is on: no kernel vouches for the pod on this listener, \
             so a stolen pod token works here; keep it off outside of tests"
        );
    }
    if config.upgrades.allow.contains(&Upgradable::NodeProxy) {
        tracing::warn!(
            "upgrades.allow has nodes/proxy: who may use it has a shell in every container of the node, \
             whatever the rules say of pods/exec"
        );
    }
    if config.recording.read_lag {
        tracing::warn!(
            "recording.readLag is on: reads are answered while their outcome is being committed"
        );
    }
}

fn node_name(config: &Config) -> String {
    let given = || std::env::var("NODE_NAME").ok();
    let named = config.node.clone().or_else(given);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        nix::unistd::gethostname().map_or_else(
            |_| "unknown".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    })
}
