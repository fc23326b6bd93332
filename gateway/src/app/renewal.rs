//! Certificates, read again when their files have changed.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::{config::watch::FileWatch, telemetry::causes, tls::TlsError};

/// Calls `reload` each time one of `files` has changed, until `shutdown`. What is wrong with the new ones is said, and
/// the last good ones stay. `of` is whose certificates they are.
pub(super) async fn renew(
    of: &'static str,
    files: Vec<PathBuf>,
    reload: impl Fn() -> Result<(), TlsError>,
    shutdown: CancellationToken,
) {
    let mut files = match FileWatch::new(files) {
        Ok(files) => files,
        Err(error) => {
            return tracing::warn!(%error, of, "new certificates need a restart");
        }
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = files.changed() => {}
        }
        match reload() {
            Ok(()) => tracing::info!(of, "the certificates were read again"),
            Err(error) => tracing::error!(
                of,
                error = causes(&error),
                "the new certificates are refused, the last good ones stay"
            ),
        }
    }
}
