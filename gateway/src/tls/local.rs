//! A CA of our own in a directory: `ca.crt` is what clients trust, `ca.key` stays 0600.
//! Made once and kept, so that kubeconfigs survive a restart; the leaf is made anew at each start.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Leaf, TlsError};

pub(super) fn leaf(directory: &Path, names: &[String]) -> Result<Leaf, TlsError> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Err(TlsError::LocalInCluster);
    }
    let authority = Authority::open(directory)?;
    authority.issue(names)
}

struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(directory: &Path) -> Result<Self, TlsError> {
        let (certificate_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
        if !key_file.exists() {
            create(directory, &certificate_file, &key_file)?;
        }
        let certificate = CertificateDer::from_pem_file(&certificate_file)
            .map_err(super::unreadable(&certificate_file))?;
        let key = PrivateKeyDer::from_pem_file(&key_file).map_err(super::unreadable(&key_file))?;
        let key = KeyPair::try_from(&key).map_err(TlsError::NotIssued)?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(authority_params(), key),
        })
    }

    fn issue(&self, names: &[String]) -> Result<Leaf, TlsError> {
        let mut params = CertificateParams::new(names).map_err(|source| TlsError::BadName {
            name: names.join(", "),
            source,
        })?;
        params
            .distinguished_name
            .push(DnType::CommonName, "sallyport");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(TlsError::NotIssued)?;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(TlsError::NotIssued)?;
        Ok(Leaf {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen serializes PKCS #8"),
        })
    }
}

fn create(directory: &Path, certificate_file: &Path, key_file: &Path) -> Result<(), TlsError> {
    fs::create_dir_all(directory).map_err(unwritable(directory))?;
    let key = KeyPair::generate().map_err(TlsError::NotIssued)?;
    let certificate = authority_params()
        .self_signed(&key)
        .map_err(TlsError::NotIssued)?;
    // The key goes last: its presence means that the pair is whole.
    write(certificate_file, &certificate.pem(), 0o644)?;
    write(key_file, &key.serialize_pem(), 0o600)
}

/// The same at every start: the subject and the key identify the issuer of a leaf.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "sallyport local CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(unwritable(path))
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> TlsError {
    let path = PathBuf::from(path);
    move |source| TlsError::Unwritable { path, source }
}
