//! Composes the node agent, as [`run`](super::run) does the gateway.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{descriptors, listeners::listen, stopping::StopSignal};
use crate::{
    admin::{self, Admin},
    config::node::NodeConfig,
    node::{Node, Parts},
    readiness::Readiness,
    tls,
};

/// Works until SIGTERM or SIGINT, and leaves what is pinned as it is.
pub async fn run_node(path: &Path) -> anyhow::Result<()> {
    let config = NodeConfig::load(path)?;
    descriptors::raise()?;
    let mut stop = StopSignal::register()?;
    let readiness = Readiness::default();
    let starting = readiness.register("start");
    let mut registry = Registry::with_prefix("sallyport");
    let admin = match &config.admin {
        Some(admin) => Some(listen("admin", admin.listen).await?),
        None => None,
    };
    let node = Node::new(Parts {
        client: node_client(&config).await?,
        config,
        registry: &mut registry,
        readiness: readiness.clone(),
        starting,
    })?;

    let shutdown = CancellationToken::new();
    if let Some(listener) = admin {
        let answers = Arc::new(Admin {
            registry,
            readiness,
        });
        tokio::spawn(admin::serve(listener, answers, shutdown.clone()));
    }
    let working = tokio::spawn(node.run(shutdown.clone()));
    let stopped = shutdown.clone();
    let stopping = tokio::spawn(async move {
        stop.received().await;
        stopped.cancel();
    });
    working.await.context("the node agent panicked")??;
    stopping.abort();
    tracing::info!("stopped; what is attached stays, `sallyport node uninstall` takes it away");
    Ok(())
}

/// The API server as the node agent reaches it.
pub async fn node_client(config: &NodeConfig) -> anyhow::Result<kube::Client> {
    tls::install_provider();
    let upstream = match &config.kubeconfig {
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path)
                .map_err(super::upstream::unread)
                .with_context(|| format!("reading kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
                .await
                .with_context(|| format!("using kubeconfig {}", path.display()))?
        }
        None => kube::Config::incluster()
            .context("kubeconfig is not set and this is not a pod of a cluster")?,
    };
    kube::Client::try_from(upstream).context("making a client for the API server")
}
