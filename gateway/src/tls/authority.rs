//! An issuing CA: it signs the certificates that this gateway shows.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{TlsError, provider, read_chain, unreadable};

/// A leaf lives in memory alone and is replaced at half of this, so it need not outlive a long weekend by much.
const LEAF_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far clients' clocks may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

pub(super) struct Authority {
    /// Sent behind each leaf: the issuing CA, and what leads to the one that clients trust.
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    /// No leaf outlives its issuer.
    expires: SystemTime,
}

/// A certificate with its key, and when a new one is due.
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) renew: SystemTime,
}

impl Authority {
    pub(super) fn open(
        cert_file: &Path,
        key_file: &Path,
        chain_file: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let mut chain = read_chain(cert_file)?;
        let own = chain.first().cloned().ok_or_else(|| TlsError::Empty {
            path: cert_file.to_owned(),
        })?;
        if let Some(file) = chain_file {
            chain.extend(read_chain(file)?);
        }
        let expires = valid_until(&own, cert_file)?;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?;
        certified(vec![own.clone()], key.clone_key())?;
        let key = KeyPair::try_from(&key).map_err(TlsError::NotIssued)?;
        Ok(Self {
            chain,
            issuer: Issuer::from_ca_cert_der(&own, key).map_err(TlsError::NotIssued)?,
            expires,
        })
    }

    /// A certificate for `names`, with a key of its own. Its serial is a digest of that key (20 bytes).
    pub(super) fn issue(&self, names: &[String]) -> Result<Leaf, TlsError> {
        let now = SystemTime::now();
        let until = self.expires.min(now + LEAF_VALIDITY);
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
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = until.into();
        let key = KeyPair::generate().map_err(TlsError::NotIssued)?;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(TlsError::NotIssued)?;
        let chain = [leaf.der()].into_iter().chain(&self.chain).cloned();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen serializes PKCS #8");
        Ok(Leaf {
            key: certified(chain.collect(), key)?,
            renew: now + until.duration_since(now).unwrap_or_default() / 2,
        })
    }
}

/// Checks that key and certificate are a pair.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(chain, key, &provider())
        .map(Arc::new)
        .map_err(TlsError::Mismatch)
}

fn valid_until(own: &CertificateDer<'_>, path: &Path) -> Result<SystemTime, TlsError> {
    let no_authority = || TlsError::NoAuthority {
        path: path.to_owned(),
    };
    let (_, certificate) = X509Certificate::from_der(own).map_err(|_| no_authority())?;
    let usage = certificate.key_usage().ok().flatten();
    if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(no_authority());
    }
    let seconds = certificate.validity().not_after.timestamp();
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0));
    if expires <= SystemTime::now() {
        return Err(TlsError::AuthorityExpired {
            path: path.to_owned(),
        });
    }
    Ok(expires)
}
