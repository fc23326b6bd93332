//! The gateway's binary with a configuration and a directory of its own.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    client::Server,
    stub::Stub,
    token::{ISSUER, Issuer},
};

pub(crate) struct Gateway {
    process: Child,
    server: Server,
}

impl Gateway {
    pub(crate) fn start(directory: &Path, stub: &Stub) -> Self {
        let issuer = Issuer::new();
        write_files(directory, stub, &issuer);
        let mut process = Command::new(env!("CARGO_BIN_EXE_sallyport"))
            .args([
                "gateway",
                "--config",
                "gateway.yaml",
                "--log-format",
                "json",
            ])
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway's binary");
        let address = explicit_address(&mut process);
        let root = CertificateDer::from_pem_file(directory.join("tls/ca.crt"));
        let root = root.expect("the gateway made its certificate");
        Self {
            process,
            server: Server::new(address, root, &issuer.token()),
        }
    }

    pub(crate) fn server(&self) -> Server {
        self.server.clone()
    }

    /// The gateway's CPU time while `work` runs here.
    pub(crate) fn cpu_seconds(&self, work: impl FnOnce()) -> f64 {
        let before = self.cpu_time();
        work();
        (self.cpu_time() - before).as_secs_f64()
    }

    fn cpu_time(&self) -> Duration {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        let clock = clock_getcpuclockid(pid).expect("the gateway runs");
        clock_gettime(clock).expect("the gateway runs").into()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().expect("the gateway runs");
        self.process.wait().expect("the gateway ended");
    }
}

/// From its log, which is read to its end so that the gateway never waits for us.
fn explicit_address(process: &mut Child) -> SocketAddr {
    let stderr = process.stderr.take().expect("stderr is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut seen = String::new();
    let address = lines.find_map(|line| {
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        seen += &(line + "\n");
        let fields = &entry["fields"];
        let explicit = fields["message"] == "listening" && fields["listener"] == "explicit";
        explicit.then(|| fields["addr"].as_str()?.parse().ok())?
    });
    thread::spawn(move || lines.for_each(drop));
    address.unwrap_or_else(|| panic!("the gateway does not listen:\n{seen}"))
}

fn write_files(directory: &Path, stub: &Stub, issuer: &Issuer) {
    let write = |name: &str, content: &Value| {
        fs::write(directory.join(name), content.to_string()).expect("a directory of our own");
    };
    for name in ["policies", "wal", "store", "tls"] {
        fs::create_dir(directory.join(name)).expect("a directory of our own");
    }
    write("gateway.yaml", &configuration());
    write("kubeconfig", &kubeconfig(stub));
    write("jwks.json", &issuer.jwks());
    write("policies/read.yaml", &policy());
    write_key(&directory.join("mask.key"));
}

fn configuration() -> Value {
    json!({
        "cluster": "bench",
        "node": "bench",
        "explicit": { "listen": "127.0.0.1:0" },
        "tls": { "local": { "directory": "tls", "names": ["localhost"] } },
        "upstream": { "kubeconfig": "kubeconfig" },
        "authentication": { "oidc": [{ "name": "bench", "issuer": ISSUER, "jwksFile": "jwks.json" }] },
        "policy": { "directory": "policies" },
        "recording": { "wal": { "directory": "wal", "limit": "2GiB" }, "store": { "directory": "store" } },
        "masking": { "keyFile": "mask.key" }
    })
}

fn kubeconfig(stub: &Stub) -> Value {
    let authority = BASE64_STANDARD.encode(stub.pem());
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stub",
        "contexts": [{ "name": "stub", "context": { "cluster": "stub", "user": "gateway" } }],
        "clusters": [{
            "name": "stub",
            "cluster": {
                "server": format!("https://localhost:{}", stub.address.port()),
                "certificate-authority-data": authority
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
                "name": "read", "effect": "Allow", "verbs": ["get"],
                "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"], "names": ["*"]
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
