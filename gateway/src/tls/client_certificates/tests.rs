use std::fs;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;

struct Ca {
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self {
            params,
            key: KeyPair::generate().expect("a key"),
        }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).expect("a CA").pem()
    }

    fn client(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(self.params.clone(), &self.key);
        params.signed_by(&key, &issuer).expect("a leaf").into()
    }
}

#[test]
fn only_its_own_ca_under_exactly_its_name_is_let_in() {
    let (ca, other) = (Ca::new(), Ca::new());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.crt");
    fs::write(&file, ca.pem()).expect("it is written");
    let verifier = Named::new(&file, "controller.example").expect("a verifier");
    let verify = |certificate: CertificateDer<'static>| {
        verifier
            .verify_client_cert(&certificate, &[], UnixTime::now())
            .is_ok()
    };
    assert!(verify(ca.client("controller.example")));
    assert!(!verify(ca.client("gateway.example")), "another name");
    assert!(!verify(ca.client("*.example")), "a wildcard");
    assert!(!verify(other.client("controller.example")), "another CA");
    assert!(verifier.client_auth_mandatory(), "nobody comes without");
}

#[test]
fn a_certificate_in_files_that_is_for_another_name_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["gateway.example".to_owned()]).expect("a name");
    let own = params.self_signed(&key).expect("a certificate");
    fs::write(path("tls.crt"), own.pem()).expect("it is written");
    fs::write(path("tls.key"), key.serialize_pem()).expect("it is written");
    fs::write(path("ca.crt"), Ca::new().pem()).expect("it is written");
    let tls = Tls::Files {
        cert_file: path("tls.crt"),
        key_file: path("tls.key"),
    };
    let load = |name| {
        ClientCertificates::load(&tls, name, &path("ca.crt"), "controller.example").map(drop)
    };
    load("gateway.example").expect("its own name");
    let error = load("other.example").expect_err("another's");
    assert!(matches!(error, TlsError::WrongName { .. }), "{error}");
}
