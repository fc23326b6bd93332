//! The composition root: builds every part of the gateway, top to bottom, and owns the order of going down.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use prometheus_client::registry::Registry;

use crate::{
    config::{Config, Recording, Upgradable},
    policy::LevelPolicy,
    proxy::Captured,
    readiness::Readiness,
    tls::{self, Leaves},
};

#[cfg(target_os = "linux")]
pub use self::node::{node_client, run_node};
pub use self::{
    check::check,
    controller::{check_controller, run_controller},
};
use self::{
    data_path::Given,
    listeners::Listeners,
    objects::{Objects, Told},
    reload::Reload,
    running::{Background, Record, Running},
    stopping::StopSignal,
};

mod alerts;
mod capture;
mod check;
mod control;
mod controller;
mod data_path;
mod decoys;
mod descriptors;
mod listeners;
#[cfg(target_os = "linux")]
mod node;
mod objects;
mod reload;
mod renewal;
mod running;
mod stopping;
mod upstream;

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

/// Builds every part, and begins to serve once all are there.
async fn start(config: &Config, readiness: &Readiness) -> anyhow::Result<Running> {
    let fitting = descriptors::divide(config.capture.is_some())?;
    let starting = readiness.register("start");
    let mut registry = Registry::with_prefix("sallyport");
    let mut background = Background::default();

    let objects = Objects::follow(config).await?;
    let reload = Reload::open(config, objects.clone())?;
    reload.register(&mut registry);
    let mut told = objects.map_or_else(Told::nothing, |objects| {
        objects.tell(reload.in_force(), readiness.register("objects"))
    });
    let stops = told.pushing.take();
    let record = Record::open(config, &mut registry)?;
    let given = Given {
        told,
        alerts: data_path::alerts(config, &mut registry, &mut background).await?,
        decoys: data_path::decoys(config, &mut background).await?,
        connections: fitting.connections,
        log: record.log.clone(),
    };
    let gateway = data_path::gateway(config, &reload, given, &mut registry, readiness).await?;

    let listeners = Listeners::open(config).await?;
    warn_of_choices(config);

    let leaves = reload.leaves().clone();
    background.run(|shutdown| reload.run(record.archive.clone(), shutdown));
    let record = record.ship(&background.shutdown);
    let (mut running, watcher) = Running::new(Arc::clone(&gateway), record, background);
    if let Some(listener) = listeners.explicit {
        let tls = leaves.explicit(&config.tls)?;
        running.serve_explicit(listener, tls, watcher.clone());
    }
    if let Some(capture) = &config.capture {
        let waiting = readiness.register("capture");
        let captured = Captured::new(gateway, leaves, fitting.listeners, watcher);
        running.serve_captured(capture, captured, waiting);
    }
    if let Some(listener) = listeners.admin {
        running.serve_admin(listener, registry, readiness.clone());
    }
    if let Some(control) = listeners.control {
        running.serve_control(control, stops);
    }
    drop(starting);
    Ok(running)
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
