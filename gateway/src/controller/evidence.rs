//! The evidence API: people read what is recorded, follow what is being recorded, end what runs, and have stops applied.
//!
//! Who asks is known by the API server, may by its RBAC, and is recorded by a gateway before anything is answered. Then
//! every gateway is asked, and one that cannot be is named in the answer: a silent one would look like a quiet one.
//! Every replica answers; nothing here is the leader's.

use std::sync::Arc;

use kube::Client;
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use self::query::query;
use self::{answering::Answering, gateways::Gateways, standing::Standing};
use super::metrics::Metrics;
use crate::{
    audit::store::{Archive, StoreError},
    config::controller::Evidence as Config,
    tls::{self, TlsError},
};

mod access;
mod answering;
mod asked;
mod authorities;
mod finished;
mod gateways;
mod lines;
mod listening;
mod outlet;
mod person;
mod query;
mod recording;
mod refusal;
mod standing;
mod stops;
mod streams;
mod tail;
mod turns;

/// What a start would refuse.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("evidence.store cannot be used")]
    Store(#[source] Box<StoreError>),
    #[error("evidence.gateways: the certificates cannot be used")]
    Gateways(#[from] TlsError),
}

/// What the API is made of.
pub(super) struct Evidence {
    config: Config,
    store: Option<Archive>,
}

impl Evidence {
    /// Reads what it needs, to find out at the start what is missing.
    pub(super) fn open(config: &Config) -> Result<Self, EvidenceError> {
        let gateways = &config.gateways;
        tls::client_with_certificate(&gateways.ca_file, &gateways.cert_file, &gateways.key_file)?;
        let store = config.store.as_ref().map(Archive::open).transpose();
        Ok(Self {
            store: store.map_err(|error| EvidenceError::Store(Box::new(error)))?,
            config: config.clone(),
        })
    }

    /// Answers until `shutdown`.
    pub(super) async fn serve(
        self,
        (listener, tls): (TcpListener, Arc<ServerConfig>),
        client: Client,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) {
        let (sender, shown) = watch::channel(Arc::clone(&tls));
        let follow = authorities::follow(client.clone(), tls, sender);
        let gateways = Arc::new(Gateways::new(self.config.gateways, client.clone()));
        let answering = Answering::new(client, gateways, self.store, metrics, shutdown.clone());
        let serving = listening::serve(listener, shown, Arc::new(answering), shutdown);
        tokio::select! {
            () = serving => {}
            () = follow => {}
        }
    }
}

#[cfg(test)]
mod tests;
