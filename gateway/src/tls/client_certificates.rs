//! A server for clients that show a certificate of a CA of their own, for one name. HTTP/1.1.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{Leaves, TlsError, provider, read_chain};
use crate::config::Tls;

/// What such a server shows and whom it lets in. Both follow their files when they are read again.
pub struct ClientCertificates {
    leaves: Leaves,
    tls: Tls,
    name: &'static str,
    ca_file: PathBuf,
    client: &'static str,
    server: RwLock<Arc<ServerConfig>>,
}

impl ClientCertificates {
    /// A server that goes by `name`, for clients of `ca_file` whose certificates are for `client`.
    pub fn load(
        tls: &Tls,
        name: &'static str,
        ca_file: &Path,
        client: &'static str,
    ) -> Result<Self, TlsError> {
        let leaves = Leaves::load(tls)?;
        check_name(tls, name)?;
        Ok(Self {
            server: RwLock::new(server(&leaves, tls, name, ca_file, client)?),
            leaves,
            tls: tls.clone(),
            name,
            ca_file: ca_file.to_owned(),
            client,
        })
    }

    /// Reads the files again; they count from the next connection on, and not at all where one is wrong.
    pub fn reload(&self) -> Result<(), TlsError> {
        check_name(&self.tls, self.name)?;
        self.leaves.reload(&self.tls)?;
        let server = server(
            &self.leaves,
            &self.tls,
            self.name,
            &self.ca_file,
            self.client,
        )?;
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    /// The files that count.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.tls.files().into_iter().map(Path::to_owned);
        own.chain([self.ca_file.clone()]).collect()
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let server = self.server.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&server)
    }
}

fn server(
    leaves: &Leaves,
    tls: &Tls,
    name: &'static str,
    ca_file: &Path,
    client: &'static str,
) -> Result<Arc<ServerConfig>, TlsError> {
    let shown = leaves.named(tls, name)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Mismatch)?
        .with_client_cert_verifier(Arc::new(Named::new(ca_file, client)?))
        .with_cert_resolver(Arc::clone(&shown.cert_resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate in files is for whom it is for: clients would refuse another.
fn check_name(tls: &Tls, name: &'static str) -> Result<(), TlsError> {
    let Tls::Files { cert_file, .. } = tls else {
        return Ok(());
    };
    let chain = read_chain(cert_file)?;
    match chain.first().is_some_and(|own| is_for(own, name)) {
        true => Ok(()),
        false => Err(TlsError::WrongName {
            path: cert_file.clone(),
            name,
        }),
    }
}

/// Lets in whom a CA vouches for under one name.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    name: &'static str,
}

impl Named {
    fn new(ca_file: &Path, name: &'static str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(read_chain(ca_file)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let inner = verifier.build().map_err(|_| TlsError::Empty {
            path: ca_file.to_owned(),
        })?;
        Ok(Self { inner, name })
    }
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(own, intermediates, now)?;
        match is_for(own, self.name) {
            true => Ok(verified),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, own, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, own, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Letter by letter: a wildcard is for nobody.
fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let mut names = names.value.general_names.iter();
    names.any(|known| matches!(known, GeneralName::DNSName(known) if *known == name))
}

#[cfg(test)]
mod tests;
