//! The gateway's binary with a configuration and a directory of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    agents::ISSUER,
    certificates::{AUTHORITY, CERTIFICATE, KEY, NAME},
    program::{Program, eventually},
    side::{READ_LAG, SALLYPORT, Side},
    site::Site,
};

const LOG: &str = "log";
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn start(site: &Site, read_lag: bool) -> Side {
    let directory = site.fresh_directory();
    write_files(&directory, site, read_lag);
    let log = File::create(directory.join(LOG)).expect("a directory of our own");
    let program = Program::start(env!("CARGO_BIN_EXE_sallyport"), |command| {
        command
            .args([
                "gateway",
                "--config",
                "config/gateway.yaml",
                "--log-format",
                "json",
            ])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
    });
    let name = if read_lag { READ_LAG } else { SALLYPORT };
    let address = listener(&directory, "explicit");
    Side {
        admin: Some(listener(&directory, "admin")),
        ..Side::new(name, address, program)
    }
}

/// From its log.
fn listener(directory: &Path, name: &str) -> SocketAddr {
    let read = || fs::read_to_string(directory.join(LOG)).unwrap_or_default();
    let listening = |line: &str| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let fields = &entry["fields"];
        let this = fields["message"] == "listening" && fields["listener"] == name;
        this.then(|| fields["addr"].as_str()?.parse().ok())?
    };
    let address = eventually(READY_WITHIN, || read().lines().find_map(listening));
    address.unwrap_or_else(|| panic!("the gateway has no {name} listener:\n{}", read()))
}

/// One of the gateway's metrics.
pub(crate) fn metric(side: &Side, name: &str) -> f64 {
    let admin = side.admin.expect("the gateway has one");
    let mut stream = TcpStream::connect(admin).expect("the gateway runs");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("the gateway reads");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("the gateway answers");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let found = text.lines().find_map(value);
    found.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"))
}

fn write_files(directory: &Path, site: &Site, read_lag: bool) {
    // Apart from the log of the program: the gateway watches this directory for changes.
    let config = directory.join("config");
    let write = |name: &str, content: &Value| {
        fs::write(config.join(name), content.to_string()).expect("a directory of our own");
    };
    for name in ["config", "config/policies", "wal", "store"] {
        fs::create_dir(directory.join(name)).expect("a directory of our own");
    }
    write("gateway.yaml", &configuration(site, read_lag));
    write("kubeconfig", &kubeconfig(site));
    write("jwks.json", &site.agents.jwks());
    write("policies/read.yaml", &policy());
    write_key(&config.join("mask.key"));
}

fn configuration(site: &Site, read_lag: bool) -> Value {
    let file = |name: &str| site.directory().join(name);
    json!({
        "cluster": "bench",
        "node": "bench",
        "explicit": { "listen": "127.0.0.1:0" },
        "admin": { "listen": "127.0.0.1:0" },
        "tls": { "files": { "certFile": file(CERTIFICATE), "keyFile": file(KEY) } },
        "upstream": { "kubeconfig": "kubeconfig" },
        "authentication": { "oidc": [{ "name": "bench", "issuer": ISSUER, "jwksFile": "jwks.json" }] },
        "policy": { "directory": "policies" },
        "recording": {
            "wal": { "directory": "../wal", "limit": "2GiB" },
            "store": { "directory": "../store" },
            "readLag": read_lag
        },
        "masking": { "keyFile": "mask.key" }
    })
}

fn kubeconfig(site: &Site) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stub",
        "contexts": [{ "name": "stub", "context": { "cluster": "stub", "user": "gateway" } }],
        "clusters": [{
            "name": "stub",
            "cluster": {
                "server": format!("https://{NAME}:{}", site.stub.address.port()),
                "certificate-authority": site.directory().join(AUTHORITY)
            }
        }],
        "users": [{ "name": "gateway", "user": { "token": "gateway" } }]
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentPolicy", "metadata": { "name": "read" },
        "spec": {
            "subjects": [{ "all": "*" }],
            "rules": [{
                "name": "read", "effect": "Allow", "verbs": ["get", "list", "watch"],
                "apiGroups": [""], "resources": ["pods", "secrets"], "namespaces": ["*"], "names": ["*"]
            }]
        }
    })
}

/// The gateway takes a key only from a file that nobody else can read.
fn write_key(path: &Path) {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let key = BASE64_STANDARD.encode([7; 32]);
    let mut file = file.expect("a directory of our own");
    file.write_all(key.as_bytes()).expect("room");
}
