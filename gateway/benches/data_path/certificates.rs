//! One certificate for every server on this machine, and the authority that clients trust.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

pub(crate) const AUTHORITY: &str = "ca.crt";
pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";
pub(crate) const NAME: &str = "localhost";

pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";

/// Writes authority, certificate and key into `directory`.
pub(crate) fn create(directory: &Path) {
    let authority_key = KeyPair::generate().expect("a key");
    let params = authority();
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().expect("a key");
    let server = server().signed_by(&key, &issuer).expect("a certificate");
    for (name, pem) in [
        (AUTHORITY, authority.pem()),
        (CERTIFICATE, server.pem()),
        (KEY, key.serialize_pem()),
    ] {
        fs::write(directory.join(name), pem).expect("a directory of our own");
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "bench CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

pub(crate) fn server_config(directory: &Path) -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(directory.join(CERTIFICATE));
    let key = PrivateKeyDer::from_pem_file(directory.join(KEY)).expect("a key");
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key)
        .expect("a key and its certificate");
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    config
}

/// For a client that speaks only `protocol`.
pub(crate) fn client_config(directory: &Path, protocol: &[u8]) -> ClientConfig {
    let root = CertificateDer::from_pem_file(directory.join(AUTHORITY));
    let mut roots = RootCertStore::empty();
    roots
        .add(root.expect("a certificate"))
        .expect("an authority");
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    // All servers have one name, and none takes another's tickets.
    config.resumption = Resumption::disabled();
    config
}
