//! The certificates of the control API, and their renewal.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Control, watch::FileWatch},
    telemetry::causes,
    tls::{CONTROLLER, ClientCertificates, GATEWAY},
};

pub(super) fn certificates(control: &Control) -> anyhow::Result<Arc<ClientCertificates>> {
    let Control {
        tls,
        client_ca_file,
        ..
    } = control;
    let certificates = ClientCertificates::load(tls, GATEWAY, client_ca_file, CONTROLLER);
    let certificates = certificates.context("preparing the certificates of control")?;
    Ok(Arc::new(certificates))
}

/// Reads them again when their files have changed, until `shutdown`.
pub(super) async fn renew(certificates: Arc<ClientCertificates>, shutdown: CancellationToken) {
    let mut files = match FileWatch::new(certificates.files()) {
        Ok(files) => files,
        Err(error) => {
            return tracing::warn!(%error, "new certificates of control need a restart");
        }
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = files.changed() => {}
        }
        match certificates.reload() {
            Ok(()) => tracing::info!("the certificates of control were read again"),
            Err(error) => tracing::error!(
                error = causes(&error),
                "the new certificates of control are refused, the last good ones stay"
            ),
        }
    }
}
