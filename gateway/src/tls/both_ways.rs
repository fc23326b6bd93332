//! TLS in which the client shows a certificate too.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{TlsError, provider, read_chain, unreadable};

/// A client that trusts the CAs of `ca_file` alone and shows the certificate of `cert_file`. HTTP/1.1.
pub fn client_with_certificate(
    ca_file: &Path,
    cert_file: &Path,
    key_file: &Path,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_chain(ca_file)?);
    if added == 0 {
        return Err(TlsError::Empty {
            path: ca_file.to_owned(),
        });
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider serves the default versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(read_chain(cert_file)?, key)
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// `server`, which also takes a client's certificate if one of `authorities` (PEM) vouches for it. `None` where that
/// text holds no authority.
pub fn with_optional_client_certificates(
    server: &ServerConfig,
    authorities: &str,
) -> Option<ServerConfig> {
    let certificates = CertificateDer::pem_slice_iter(authorities.as_bytes());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .ok()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .ok()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&server.cert_resolver));
    config.alpn_protocols.clone_from(&server.alpn_protocols);
    Some(config)
}
