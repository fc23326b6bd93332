//! Builds the data path from what the configuration says, and what it needs of the cluster.

use std::sync::Arc;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::{
    alerts::AlertWriter, allows_service_account_tokens, decoys::stop_sessions, node_name,
    objects::Told, reload::Reload, running::Background, upstream::upstream_config,
};
use crate::{
    approval::Approvals,
    audit::log::Log,
    authn::{AgentSet, Authenticator},
    config::Config,
    mask,
    proxy::{self, Alerts, Decoys, Gateway, Parts, Upstream},
    readiness::Readiness,
};

/// What the data path is given by other parts.
pub(super) struct Given {
    pub(super) told: Told,
    pub(super) alerts: Alerts,
    pub(super) decoys: Decoys,
    /// How many may be open.
    pub(super) connections: usize,
    pub(super) log: Log,
}

pub(super) async fn gateway(
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
        apis: given.told.apis,
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
pub(super) async fn alerts(
    config: &Config,
    registry: &mut Registry,
    background: &mut Background,
) -> anyhow::Result<Alerts> {
    let Some(objects) = &config.objects else {
        return Ok(Alerts::default());
    };
    let upstream = upstream_config(&config.upstream).await?;
    let client = kube::Client::try_from(upstream).context("making a client for alerts")?;
    let (alerts, board) = Alerts::new(registry);
    let writer = AlertWriter::new(client, &objects.namespace, &node_name(config), board);
    background.run(|shutdown| writer.run(shutdown));
    Ok(alerts)
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
pub(super) async fn decoys(config: &Config, background: &mut Background) -> anyhow::Result<Decoys> {
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
    background.run(|shutdown| stop_sessions(client, caught, shutdown));
    Ok(decoys)
}

pub(super) fn authenticator(
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
