use std::{os::unix::fs::PermissionsExt, sync::Arc};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tempfile::TempDir;

use super::*;

struct Made {
    directory: TempDir,
}

impl Made {
    fn with(arguments: Args) -> Self {
        let directory = tempfile::tempdir().unwrap();
        create(&Args {
            directory: directory.path().join("ca"),
            ..arguments
        })
        .unwrap();
        Self { directory }
    }

    fn renewal(&self) -> Renewal {
        Renewal {
            directory: self.directory.path().join("ca"),
            service_cidr: Vec::new(),
            address: Vec::new(),
            name: Vec::new(),
            cluster_domain: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("ca").join(name)
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    /// The name and the key are what a leaf takes of it.
    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let key = PrivateKeyDer::from_pem_file(self.path(ISSUER_KEY)).unwrap();
        let params = authority(ISSUER_NAME, 1).unwrap();
        Issuer::new(params, KeyPair::try_from(&key).unwrap())
    }

    /// Whether rustls believes a leaf for `name`, issued as the gateway does and sent with the intermediate.
    fn vouches_for(&self, name: &str) -> bool {
        let issuer = self.issuer();
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        self.believes(leaf.der(), &[self.certificate(ISSUER_CERTIFICATE)], name)
    }

    fn believes(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &str,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate(ROOT_CERTIFICATE)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = ServerName::try_from(name).unwrap();
        verifier
            .verify_server_cert(leaf, chain, &name, &[], UnixTime::now())
            .is_ok()
    }
}

fn args() -> Args {
    Args {
        directory: PathBuf::new(),
        service_cidr: vec![
            "10.96.0.0/12".parse().unwrap(),
            "fd00:96::/112".parse().unwrap(),
        ],
        address: vec!["192.0.2.10".parse().unwrap()],
        name: vec!["api.prod.example".to_owned()],
        cluster_domain: "cluster.local".to_owned(),
    }
}

#[test]
fn clients_believe_a_leaf_for_the_api_servers_names_and_addresses() {
    let made = Made::with(args());
    for name in [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "api.prod.example",
        "10.96.0.1",
        "10.111.255.255",
        "fd00:96::1",
        "192.0.2.10",
    ] {
        assert!(made.vouches_for(name), "{name}");
    }
}

#[test]
fn clients_refuse_a_leaf_for_anything_else() {
    let made = Made::with(args());
    for name in [
        "example.com",
        "prod.example",
        "other.prod.example",
        "default.svc.cluster.local",
        "kubernetes.default.svc.other",
        "10.112.0.1",
        "192.0.2.11",
        "fd00:97::1",
        "127.0.0.1",
    ] {
        assert!(!made.vouches_for(name), "{name}");
    }
}

#[test]
fn the_intermediate_cannot_make_another() {
    let made = Made::with(args());
    let issuer = made.issuer();
    let lower_key = KeyPair::generate().unwrap();
    let mut lower = authority("lower", 1).unwrap();
    lower.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let lower_certificate = lower.signed_by(&lower_key, &issuer).unwrap();
    let leaf = CertificateParams::new(["kubernetes".to_owned()]).unwrap();
    let leaf = leaf
        .signed_by(
            &KeyPair::generate().unwrap(),
            &Issuer::new(lower, lower_key),
        )
        .unwrap();
    let chain = [
        lower_certificate.der().clone(),
        made.certificate(ISSUER_CERTIFICATE),
    ];
    assert!(!made.believes(leaf.der(), &chain, "kubernetes"));
}

#[test]
fn keys_are_their_owners_alone_and_nothing_is_overwritten() {
    let made = Made::with(args());
    for name in [ROOT_KEY, ISSUER_KEY] {
        let mode = made.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = fs::read(made.path(ROOT_KEY)).unwrap();
    let again = Args {
        directory: made.directory.path().join("ca"),
        ..args()
    };
    let refusal = create(&again).unwrap_err().to_string();
    assert!(refusal.contains("exists"), "{refusal}");
    assert_eq!(fs::read(made.path(ROOT_KEY)).unwrap(), before);
}

#[test]
fn another_intermediate_of_the_same_root_vouches_for_other_names() {
    let made = Made::with(args());
    let old = made.certificate(ISSUER_CERTIFICATE);
    renew(&Renewal {
        name: vec!["api.new.example".to_owned()],
        ..made.renewal()
    })
    .unwrap();
    assert_ne!(made.certificate(ISSUER_CERTIFICATE), old);
    assert_eq!(made.certificate("issuer.crt.old"), old);
    assert!(made.vouches_for("api.new.example") && !made.vouches_for("api.prod.example"));
    assert!(made.vouches_for("192.0.2.10") && made.vouches_for("fd00:96::1"));
}

#[test]
fn a_renewal_forgets_nothing_unless_it_is_told_to_and_says_what_goes() {
    let made = Made::with(args());
    renew(&made.renewal()).unwrap();
    for name in [
        "api.prod.example",
        "kubernetes.default.svc",
        "10.96.0.1",
        "fd00:96::1",
        "192.0.2.10",
    ] {
        assert!(made.vouches_for(name), "{name}");
    }
    assert!(!made.vouches_for("192.0.2.11"));

    let old = Vouched::by(&made.path(ISSUER_CERTIFICATE)).unwrap();
    let fewer = Renewal {
        service_cidr: vec!["10.96.0.0/12".parse().unwrap()],
        address: vec!["192.0.2.11".parse().unwrap()],
        ..made.renewal()
    };
    let new = fewer.vouched(old.as_ref()).unwrap();
    assert_eq!(
        new.changes(old.as_ref()),
        "It vouches for the first time for 192.0.2.11.\nIt vouches no longer for 192.0.2.10, fd00:96::/112.\n"
    );
    fs::remove_file(made.path(ISSUER_CERTIFICATE)).unwrap();
    let refusal = renew(&made.renewal()).unwrap_err().to_string();
    assert!(refusal.contains("--service-cidr"), "{refusal}");
}

#[test]
fn names_and_ranges_that_say_too_much_are_refused() {
    for network in ["0.0.0.0/0", "::/0", "10.0.0.0/33", "10.0.0.0/x", "host", ""] {
        assert!(network.parse::<Network>().is_err(), "{network}");
    }
    for name in ["", ".", "*.example", "UPPER.example", "a..b", "-a.example"] {
        assert!(names(CLUSTER_DOMAIN, &[name.to_owned()]).is_err(), "{name}");
    }
}
