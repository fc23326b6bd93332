//! The composition root: builds every part of the gateway, top to bottom, and owns the order of going down.

use std::{fmt::Write as _, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Admin},
    audit::log::Log,
    authn::{AgentSet, AgentSource, Authenticator},
    config::{Config, Recording, Upstream as UpstreamConfig},
    drain, mask,
    policy::{LevelPolicy, PolicySet, PolicySource},
    proxy::{self, Gateway, Parts, Upstream},
    readiness::Readiness,
    tls,
};

mod reload;

use self::reload::Reload;

/// Serves until SIGTERM or SIGINT.
pub async fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    tls::install_provider();
    let readiness = Readiness::default();
    let starting = readiness.register("start");
    let mut registry = Registry::with_prefix("sallyport");

    let node = node_name(&config);
    let key = Arc::new(mask::Key::from_file(&config.masking.key_file)?);
    let reload = Reload::open(&config)?;
    let upstream = upstream_config(&config.upstream).await?;
    let client =
        kube::Client::try_from(upstream.clone()).context("making a client for the API server")?;
    let authn = Authenticator::new(
        &config.authentication,
        config.explicit.allow_service_account_tokens,
        client,
        reload.agents(),
    )?
    .named(&*node);
    let (log, shipper) =
        Log::open(&config.recording, &config.cluster).context("opening the record")?;

    let gateway = Arc::new(Gateway::new(Parts {
        authn,
        policies: reload.policies(),
        levels: reload.levels(),
        log: log.clone(),
        key,
        node,
        upstream: Upstream::new(&upstream)?,
        metrics: proxy::Metrics::new(&mut registry),
        buffered_bytes: config.limits.buffered_bytes.0,
        read_lag: config.recording.read_lag,
    }));

    let (trigger, watcher) = drain::channel();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    let refusals = tokio::spawn({
        let (gateway, watcher) = (Arc::clone(&gateway), watcher.clone());
        async move { gateway.record_refusals(watcher).await }
    });
    let listener = listen("explicit", config.explicit.listen).await?;
    let serving = tokio::spawn(proxy::serve(
        listener,
        reload.tls(),
        Arc::clone(&gateway),
        watcher,
    ));
    let admin = Arc::new(Admin {
        registry,
        readiness,
    });
    let answering = match &config.admin {
        Some(listener) => {
            let listener = listen("admin", listener.listen).await?;
            Some(tokio::spawn(admin::serve(
                listener,
                Arc::clone(&admin),
                shutdown.clone(),
            )))
        }
        None => None,
    };
    let reloading = tokio::spawn(reload.run(shutdown.clone()));
    warn_of_choices(&config);
    drop(starting);

    stop_signal().await?;
    tracing::info!("draining");
    let _draining = admin.readiness.register("drain");
    if let Err(busy) = trigger.drain(config.limits.drain.0).await {
        tracing::warn!(error = %busy, "ending what is left; its outcome stays unknown in the record");
    }
    for task in [serving, refusals] {
        task.await.context("a part of the gateway panicked")?;
    }
    gateway.settle().await;
    shutdown.cancel();
    shipping.await.context("the shipper panicked")?;
    log.close().await;
    reloading.await.context("the reload panicked")?;
    if let Some(answering) = answering {
        answering.await.context("the admin server panicked")?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads everything the configuration names, changes nothing, and says what was found.
pub fn check(path: &Path) -> anyhow::Result<String> {
    let config = Config::load(path)?;
    mask::Key::from_file(&config.masking.key_file)?;
    let policies = PolicySet::load(&config.policy.directory)?;
    level_policy(&config.recording)?;
    let agents = config
        .agents
        .as_ref()
        .map(|agents| AgentSet::load(&agents.directory))
        .transpose()?
        .unwrap_or_default();
    let mut summary = format!("{}: valid\n", path.display());
    write!(
        summary,
        "  policies: digest {}\n  agents: {}",
        policies.digest(),
        agents.len()
    )?;
    Ok(summary)
}

fn level_policy(recording: &Recording) -> anyhow::Result<LevelPolicy> {
    let Some(path) = &recording.policy_file else {
        return Ok(LevelPolicy::shipped());
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    LevelPolicy::parse(&text, recording.allow_none)
        .with_context(|| format!("in {}", path.display()))
}

fn server_config(config: &Config) -> anyhow::Result<Arc<ServerConfig>> {
    tls::server_config(&config.tls).context("preparing the serving certificate")
}

async fn upstream_config(upstream: &UpstreamConfig) -> anyhow::Result<kube::Config> {
    let Some(path) = &upstream.kubeconfig else {
        return kube::Config::incluster()
            .context("upstream.kubeconfig is not set and this is not a pod of a cluster");
    };
    let kubeconfig = kube::config::Kubeconfig::read_from(path)
        .with_context(|| format!("reading {}", path.display()))?;
    let options = kube::config::KubeConfigOptions {
        context: upstream.context.clone(),
        ..Default::default()
    };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("using {}", path.display()))
}

async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address} for {name}; is another gateway running?")
    })?;
    tracing::info!(listener = name, addr = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn warn_of_choices(config: &Config) {
    if config.explicit.allow_service_account_tokens {
        tracing::warn!(
            "explicit.allowServiceAccountTokens is on: no kernel vouches for the pod on this listener, \
             so a stolen pod token works here; keep it off outside of tests"
        );
    }
    if config.recording.read_lag {
        tracing::warn!(
            "recording.readLag is on: reads are answered while their outcome is being committed"
        );
    }
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn node_name(config: &Config) -> String {
    config.node.clone().unwrap_or_else(|| {
        nix::unistd::gethostname().map_or_else(
            |_| "unknown".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    })
}
