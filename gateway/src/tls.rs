//! The gateway's serving certificates, and trust in them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use self::{
    both_ways::{client_with_certificate, with_optional_client_certificates},
    client_certificates::ClientCertificates,
    dates::hint_of_dates,
    leaves::Leaves,
};

mod authority;
mod both_ways;
mod client_certificates;
mod dates;
mod leaves;
mod local;

/// The DNS name in the controller's certificates, and that in those by which it knows a gateway.
pub const CONTROLLER: &str = "controller.sallyport.dev";
pub const GATEWAY: &str = "gateway.sallyport.dev";

/// The protocol that the start gate asks for (RFC 7301). An API server knows none of this name, so whoever agrees is
/// a gateway, and no request has to be made to find out.
pub const START_GATE: &[u8] = b"sallyport-start-gate";

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
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error(
        "tls.local is for a laptop, the demo and tests; inside a cluster give tls.authority or tls.files"
    )]
    LocalInCluster,
    #[error("{} is no CA's certificate (basicConstraints, keyCertSign); an issuing CA is needed", path.display())]
    NoAuthority { path: PathBuf },
    #[error("{} is not for {name:?}, so its clients would refuse it; give the certificate that is", path.display())]
    WrongName { path: PathBuf, name: &'static str },
    #[error("{} has expired; renew the issuing CA", path.display())]
    AuthorityExpired { path: PathBuf },
    #[error(
        "{name:?} is neither a DNS name nor an IP address, so no certificate can be issued for it"
    )]
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

/// A client that trusts the CAs of `ca_file` alone, and asks for the start gate's protocol alone.
pub fn start_gate_client(ca_file: &Path) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_chain(ca_file)?);
    if added == 0 {
        return Err(TlsError::Empty {
            path: ca_file.to_owned(),
        });
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider serves the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![START_GATE.to_vec()];
    Ok(config)
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
