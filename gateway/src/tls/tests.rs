use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, time::SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ClientConnection, ServerConfig, ServerConnection, pki_types::ServerName};
use tempfile::TempDir;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::*;
use crate::config::Tls;

fn local(directory: &Path, name: &str) -> Tls {
    Tls::Local {
        directory: directory.to_owned(),
        names: vec![name.to_owned()],
    }
}

fn server(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    Leaves::load(tls)?.explicit(tls)
}

/// An issuing CA in files, below a root that clients trust.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        site.renew(IsCa::Ca(BasicConstraints::Constrained(0)), (4096, 1, 1));
        site
    }

    /// Writes another root and another issuing CA.
    fn renew(&self, is_ca: IsCa, expires: (i32, u8, u8)) {
        let params = |name: &str, is_ca| {
            let mut params = CertificateParams::default();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            params.is_ca = is_ca;
            params
        };
        let root = params("root", IsCa::Ca(BasicConstraints::Unconstrained));
        let (root_key, key) = (
            KeyPair::generate().expect("a key"),
            KeyPair::generate().expect("a key"),
        );
        let root_certificate = root.self_signed(&root_key).expect("a root");
        let mut issuing = params("issuing", is_ca);
        issuing.not_after = date_time_ymd(expires.0, expires.1, expires.2);
        let issuing = issuing
            .signed_by(&key, &Issuer::new(root, root_key))
            .expect("an issuing CA");
        for (name, text) in [
            ("root.crt", root_certificate.pem()),
            ("ca.crt", issuing.pem()),
            ("ca.key", key.serialize_pem()),
        ] {
            fs::write(self.directory.path().join(name), text).expect("written");
        }
    }

    fn tls(&self) -> Tls {
        Tls::Authority {
            cert_file: self.directory.path().join("ca.crt"),
            key_file: self.directory.path().join("ca.key"),
            chain_file: None,
            names: vec!["gate.example".to_owned()],
        }
    }

    /// What a client that trusts the root is shown; an error if it does not accept it for `name`.
    fn shown(&self, server: &Arc<ServerConfig>, name: &str) -> Result<Shown, rustls::Error> {
        let client = start_gate_client(&self.directory.path().join("root.crt")).expect("a client");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::clone(server))?;
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("a buffer");
            server.read_tls(&mut &bytes[..]).expect("a buffer");
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).expect("a buffer");
            client.read_tls(&mut &bytes[..]).expect("a buffer");
            client.process_new_packets()?;
        }
        Ok(Shown {
            leaf: client.peer_certificates().expect("a chain")[0].to_vec(),
            protocol: client.alpn_protocol().map(<[u8]>::to_vec),
        })
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Shown {
    leaf: Vec<u8>,
    protocol: Option<Vec<u8>>,
}

impl Shown {
    fn until(&self) -> i64 {
        let (_, leaf) = X509Certificate::from_der(&self.leaf).expect("a certificate");
        leaf.validity().not_after.timestamp()
    }
}

fn cluster_ip() -> SocketAddr {
    "10.96.0.1:443".parse().expect("an address")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn each_destination_has_a_leaf_for_its_names_and_its_address() {
    let site = Site::new();
    let leaves = Leaves::load(&site.tls()).expect("an authority");
    let known = names(&["kubernetes.default.svc", "kubernetes.default"]);
    let server = leaves.destination(cluster_ip(), &known).expect("a leaf");
    for name in ["kubernetes.default.svc", "kubernetes.default", "10.96.0.1"] {
        let shown = site.shown(&server, name).expect(name);
        assert_eq!(shown.protocol.as_deref(), Some(START_GATE));
    }
    for name in ["10.96.0.2", "gate.example"] {
        site.shown(&server, name).expect_err(name);
    }
    let six = leaves.destination("[fd00::1]:443".parse().expect("an address"), &known);
    site.shown(&six.expect("a leaf"), "fd00::1")
        .expect("IPv6 too");
}

#[test]
fn pods_share_the_leaf_of_a_destination_until_its_names_change() {
    let site = Site::new();
    let leaves = Leaves::load(&site.tls()).expect("an authority");
    let of = |known: &[&str]| {
        let server = leaves.destination(cluster_ip(), &names(known));
        server.expect("a leaf")
    };
    let (one, other) = (of(&["a", "b"]), of(&["b", "a"]));
    assert!(Arc::ptr_eq(&one, &other));
    let shown = |server, name| site.shown(server, name).expect("a leaf");
    assert_eq!(shown(&one, "a"), shown(&other, "b"));
    let more = of(&["a", "b", "c.example"]);
    shown(&more, "c.example");
    assert_ne!(shown(&more, "a"), shown(&one, "a"));
}

#[test]
fn a_renewed_authority_signs_what_the_next_connection_is_shown() {
    let site = Site::new();
    let leaves = Leaves::load(&site.tls()).expect("an authority");
    let server = leaves.destination(cluster_ip(), &[]).expect("a leaf");
    site.shown(&server, "10.96.0.1").expect("the first root");
    site.renew(IsCa::Ca(BasicConstraints::Unconstrained), (4096, 1, 1));
    site.shown(&server, "10.96.0.1")
        .expect_err("still of the first root");
    leaves.reload(&site.tls()).expect("the second authority");
    site.shown(&server, "10.96.0.1").expect("the second root");
}

#[test]
fn no_leaf_outlives_its_authority() {
    let site = Site::new();
    let leaves = Leaves::load(&site.tls()).expect("an authority");
    let server = leaves.destination(cluster_ip(), &[]).expect("a leaf");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("before 2262");
    let day = 24 * 3600;
    let until = site.shown(&server, "10.96.0.1").expect("a leaf").until();
    assert!((now + 6 * day..now + 8 * day).contains(&until));

    site.renew(IsCa::Ca(BasicConstraints::Unconstrained), (1999, 1, 1));
    let error = leaves.reload(&site.tls()).expect_err("it has expired");
    assert!(
        matches!(error, TlsError::AuthorityExpired { .. }),
        "{error}"
    );
}

#[test]
fn only_a_ca_can_be_an_authority() {
    let site = Site::new();
    site.renew(IsCa::ExplicitNoCa, (4096, 1, 1));
    let error = Leaves::load(&site.tls()).expect_err("it may not sign");
    assert!(matches!(error, TlsError::NoAuthority { .. }), "{error}");
}

#[test]
fn the_explicit_listener_shows_the_names_it_is_given() {
    let site = Site::new();
    let server = server(&site.tls()).expect("a leaf");
    // It knows nothing of the start gate, so the client gives up, but only after the certificate.
    let error = site
        .shown(&server, "gate.example")
        .expect_err("no protocol");
    assert!(
        matches!(error, rustls::Error::NoApplicationProtocol),
        "{error}"
    );
}

#[test]
fn the_local_authority_outlives_a_restart_so_kubeconfigs_do_too() {
    let directory = tempfile::tempdir().expect("a directory");
    server(&local(directory.path(), "localhost")).expect("a first start");
    let first = fs::read(directory.path().join("ca.crt")).expect("ca.crt");
    server(&local(directory.path(), "127.0.0.1")).expect("a second start");
    assert_eq!(
        fs::read(directory.path().join("ca.crt")).expect("ca.crt"),
        first
    );
}

#[test]
fn the_authoritys_key_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    server(&local(directory.path(), "localhost")).expect("a start");
    let mode = fs::metadata(directory.path().join("ca.key"))
        .expect("ca.key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_name_that_cannot_be_certified_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = server(&local(directory.path(), "nämlich")).expect_err("not ASCII");
    assert!(error.to_string().contains("nämlich"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    for directory in [&one, &other] {
        server(&local(directory.path(), "localhost")).expect("a start");
    }
    let (cert_file, key_file) = (one.path().join("ca.crt"), other.path().join("ca.key"));
    let authority = Tls::Authority {
        cert_file: cert_file.clone(),
        key_file: key_file.clone(),
        chain_file: None,
        names: Vec::new(),
    };
    for tls in [
        authority,
        Tls::Files {
            cert_file,
            key_file,
        },
    ] {
        let error = server(&tls).expect_err("they do not fit");
        assert!(matches!(error, TlsError::Mismatch(_)), "{error}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let files = Tls::Files {
        cert_file: "/nowhere/tls.crt".into(),
        key_file: "/nowhere/tls.key".into(),
    };
    let error = server(&files).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}
