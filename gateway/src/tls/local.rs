//! A CA of our own in a directory: `ca.crt` is what clients trust, `ca.key` stays 0600.
//! Made once and kept, so that kubeconfigs survive a restart; leaves are made anew at each start.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::{TlsError, authority::Authority};

pub(super) fn authority(directory: &Path) -> Result<Authority, TlsError> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Err(TlsError::LocalInCluster);
    }
    let (certificate_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    if !key_file.exists() {
        create(directory, &certificate_file, &key_file)?;
    }
    Authority::open(&certificate_file, &key_file, None)
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
