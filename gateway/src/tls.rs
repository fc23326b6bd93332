//! The gateway's serving certificate, and trust in the API server.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

mod local;

/// Every certificate of the chain and its key, as rustls takes them.
#[derive(Debug)]
struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("cannot write {}", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("tls.local is for a laptop, the demo and tests; inside a cluster give tls.files")]
    LocalInCluster,
    #[error("{name:?} in tls.local.names is neither a DNS name nor an IP address")]
    BadName {
        name: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("cannot issue a certificate")]
    NotIssued(#[source] rcgen::Error),
    #[error("certificate and key do not fit together")]
    Mismatch(#[source] rustls::Error),
}

/// The configuration of the explicit listener: HTTP/2 and HTTP/1.1, as the client chooses.
pub fn server_config(tls: &crate::config::Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let leaf = match tls {
        crate::config::Tls::Local { directory, names } => local::leaf(directory, names)?,
        crate::config::Tls::Files {
            cert_file,
            key_file,
        } => Leaf {
            chain: read_chain(cert_file)?,
            key: PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?,
        },
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(leaf.chain, leaf.key)
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The one cryptography provider of this process.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes it the default too, for libraries that ask for one.
pub fn install_provider() {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a cryptography provider was installed before");
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .map_err(unreadable(path))?
        .collect::<Result<_, _>>()
        .map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Unreadable { path, source }
}

#[cfg(test)]
mod tests;
