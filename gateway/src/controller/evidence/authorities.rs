//! Whose client certificates count: those of the cluster's client CA, as the API server publishes it for such servers.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::ServerConfig;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{telemetry::causes, tls};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";
const LOOKS_AGAIN: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum AuthoritiesError {
    #[error("reading ConfigMap {NAME} in {NAMESPACE}")]
    Failed(#[source] Box<kube::Error>),
    #[error("no ConfigMap {NAME} in {NAMESPACE} within 5 s")]
    TimedOut,
}

/// Looks for a change every minute. While they are not known, people come with tokens alone.
pub(super) async fn follow(
    client: Client,
    server: Arc<ServerConfig>,
    shown: watch::Sender<Arc<ServerConfig>>,
) {
    let maps = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let mut known = None;
    let mut failing = false;
    loop {
        match published(&maps).await {
            Ok(found) => {
                failing = false;
                if known.as_ref() != Some(&found) {
                    shown.send_replace(taking(&server, found.as_deref()));
                    known = Some(found);
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(
                        error = causes(&error),
                        "the cluster's client CA is not known; the last one known counts"
                    );
                }
                failing = true;
            }
        }
        sleep(LOOKS_AGAIN).await;
    }
}

async fn published(maps: &Api<ConfigMap>) -> Result<Option<String>, AuthoritiesError> {
    let map = timeout(PATIENCE, maps.get_opt(NAME)).await;
    let map = map.map_err(|_| AuthoritiesError::TimedOut)?;
    let map = map.map_err(|error| AuthoritiesError::Failed(Box::new(error)))?;
    Ok(map
        .and_then(|map| map.data)
        .and_then(|mut data| data.remove(KEY)))
}

fn taking(server: &Arc<ServerConfig>, authorities: Option<&str>) -> Arc<ServerConfig> {
    let taking = authorities
        .and_then(|authorities| tls::with_optional_client_certificates(server, authorities));
    match taking {
        Some(config) => {
            tracing::info!("client certificates of the cluster's client CA count");
            Arc::new(config)
        }
        None => {
            tracing::info!("the cluster publishes no client CA: people come with tokens");
            Arc::clone(server)
        }
    }
}
