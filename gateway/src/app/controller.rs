//! Composes the controller, as [`run`](super::run) does the gateway.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{listeners::listen, renewal::renew, stopping::StopSignal, upstream::upstream_config};
use crate::{
    admin::{self, Admin},
    config::{Tls, Upstream, controller::ControllerConfig},
    controller::{self, Controller, Parts},
    readiness::Readiness,
    tls::{self, Leaves},
};

/// Works until SIGTERM or SIGINT.
pub async fn run_controller(path: &Path) -> anyhow::Result<()> {
    let config = ControllerConfig::load(path)?;
    tls::install_provider();
    let mut stop = StopSignal::register()?;
    let readiness = Readiness::default();
    let starting = readiness.register("objects");
    let mut registry = Registry::with_prefix("sallyport");
    let admin = match &config.admin {
        Some(admin) => Some(listen("admin", admin.listen).await?),
        None => None,
    };
    let (stopping, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let decisions = match &config.decisions {
        Some(decisions) => {
            let (listen, tls) = (decisions.listen, &decisions.tls);
            Some(serving("decisions", listen, tls, &shutdown).await?)
        }
        None => None,
    };
    let evidence = match &config.evidence {
        Some(evidence) => {
            let (listen, tls) = (evidence.listen, &evidence.tls);
            Some(serving("evidence", listen, tls, &shutdown).await?)
        }
        None => None,
    };
    let controller = Controller::new(Parts {
        client: client(&config).await?,
        config,
        registry: &mut registry,
        decisions,
        evidence,
        starting,
    })?;

    let background = admin.map(|listener| {
        let answers = Arc::new(Admin {
            registry,
            readiness,
        });
        tokio::spawn(admin::serve(listener, answers, shutdown.clone()))
    });
    let working = tokio::spawn(controller.run(stopping.clone()));
    stop.received().await;
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
    controller::check(&config)?;
    let decisions = config.decisions.as_ref();
    let evidence = config.evidence.as_ref();
    if let Some(decisions) = decisions {
        check_leaves("decisions", &decisions.tls)?;
    }
    if let Some(evidence) = evidence {
        check_leaves("evidence", &evidence.tls)?;
    }
    let (asks, alerts) = (&config.webhooks.ask, &config.webhooks.alerts);
    Ok(format!(
        "{}: valid\n  namespace  {}\n  webhooks   {} asked, {} alerted\n  decisions  {}\n  evidence   {}",
        path.display(),
        config.namespace,
        asks.len(),
        alerts.len(),
        decisions.map_or_else(
            || "by kubectl alone".to_owned(),
            |decisions| format!(
                "on {}, {} people may decide",
                decisions.listen,
                decisions.users.len()
            ),
        ),
        evidence.map_or_else(
            || "in the store alone".to_owned(),
            |evidence| format!("on {}", evidence.listen),
        ),
    ))
}

/// A CA of our own is made by a start, and changes nothing before.
fn check_leaves(name: &str, tls: &Tls) -> anyhow::Result<()> {
    if !tls.files().is_empty() {
        leaves(name, tls)?;
    }
    Ok(())
}

fn leaves(name: &str, tls: &Tls) -> anyhow::Result<Leaves> {
    Leaves::load(tls).with_context(|| format!("preparing the certificate of {name}"))
}

/// A listener of HTTP/1.1, with a certificate that is renewed until `shutdown`.
async fn serving(
    name: &'static str,
    address: SocketAddr,
    tls: &Tls,
    shutdown: &CancellationToken,
) -> anyhow::Result<(TcpListener, Arc<ServerConfig>)> {
    let leaves = leaves(name, tls)?;
    let listener = listen(name, address).await?;
    let mut server = ServerConfig::clone(&*leaves.explicit(tls)?);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let files = tls.files().into_iter().map(Path::to_owned).collect();
    let tls = tls.clone();
    let reload = move || leaves.reload(&tls);
    tokio::spawn(renew(name, files, reload, shutdown.clone()));
    Ok((listener, Arc::new(server)))
}

async fn client(config: &ControllerConfig) -> anyhow::Result<kube::Client> {
    let upstream = Upstream {
        kubeconfig: config.kubeconfig.clone(),
        context: None,
    };
    let config = upstream_config(&upstream).await?;
    kube::Client::try_from(config).context("making a client for the API server")
}
