//! Composes the controller, as [`run`](super::run) does the gateway.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{listen, stop_signal, upstream_config};
use crate::{
    admin::{self, Admin},
    config::{Upstream, controller::ControllerConfig},
    controller::{Controller, Parts},
    readiness::Readiness,
    tls,
};

/// Works until SIGTERM or SIGINT.
pub async fn run_controller(path: &Path) -> anyhow::Result<()> {
    let config = ControllerConfig::load(path)?;
    tls::install_provider();
    let readiness = Readiness::default();
    let starting = readiness.register("objects");
    let mut registry = Registry::with_prefix("sallyport");
    let admin = match &config.admin {
        Some(admin) => Some(listen("admin", admin.listen).await?),
        None => None,
    };
    let controller = Controller::new(Parts {
        client: client(&config).await?,
        config,
        registry: &mut registry,
        starting,
    });

    let (stopping, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let background = admin.map(|listener| {
        let answers = Arc::new(Admin {
            registry,
            readiness,
        });
        tokio::spawn(admin::serve(listener, answers, shutdown.clone()))
    });
    let working = tokio::spawn(controller.run(stopping.clone()));
    stop_signal().await?;
    tracing::info!("draining");
    stopping.cancel();
    working.await.context("the controller panicked")?;
    shutdown.cancel();
    if let Some(background) = background {
        background.await.context("the admin listener panicked")?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads everything the configuration names, changes nothing, and says what was found.
pub async fn check_controller(path: &Path) -> anyhow::Result<String> {
    let config = ControllerConfig::load(path)?;
    tls::install_provider();
    client(&config).await?;
    Ok(format!(
        "{}: valid\n  namespace  {}",
        path.display(),
        config.namespace,
    ))
}

async fn client(config: &ControllerConfig) -> anyhow::Result<kube::Client> {
    let upstream = Upstream {
        kubeconfig: config.kubeconfig.clone(),
        context: None,
    };
    let config = upstream_config(&upstream).await?;
    kube::Client::try_from(config).context("making a client for the API server")
}
