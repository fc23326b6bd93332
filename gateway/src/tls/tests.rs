use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::config::Tls;

fn local(directory: &Path, name: &str) -> Tls {
    Tls::Local {
        directory: directory.to_owned(),
        names: vec![name.to_owned()],
    }
}

#[test]
fn the_local_authority_outlives_a_restart_so_kubeconfigs_do_too() {
    let directory = tempfile::tempdir().expect("a directory");
    server_config(&local(directory.path(), "localhost")).expect("a first start");
    let first = fs::read(directory.path().join("ca.crt")).expect("ca.crt");
    server_config(&local(directory.path(), "127.0.0.1")).expect("a second start");
    assert_eq!(
        fs::read(directory.path().join("ca.crt")).expect("ca.crt"),
        first
    );
}

#[test]
fn the_authoritys_key_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    server_config(&local(directory.path(), "localhost")).expect("a start");
    let mode = fs::metadata(directory.path().join("ca.key"))
        .expect("ca.key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_name_that_cannot_be_certified_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = server_config(&local(directory.path(), "nämlich")).expect_err("not ASCII");
    assert!(error.to_string().contains("nämlich"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    for directory in [&one, &other] {
        server_config(&local(directory.path(), "localhost")).expect("a start");
    }
    let files = Tls::Files {
        cert_file: one.path().join("ca.crt"),
        key_file: other.path().join("ca.key"),
    };
    let error = server_config(&files).expect_err("they do not fit");
    assert!(matches!(error, TlsError::Mismatch(_)), "{error}");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let files = Tls::Files {
        cert_file: "/nowhere/tls.crt".into(),
        key_file: "/nowhere/tls.key".into(),
    };
    let error = server_config(&files).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}
