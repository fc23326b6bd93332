//! A control plane from the binaries of `KUBEBUILDER_ASSETS`: etcd and kube-apiserver, without controllers or a
//! node.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;

use super::environment::{Certificates, Cluster};
use crate::{
    command::{capture, command, ends_with_us, write},
    progress,
    service::Service,
};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const AUDIT_POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: Metadata\n";
const SERVING: &str =
    "subjectAltName = IP:127.0.0.1, DNS:localhost\nextendedKeyUsage = serverAuth\n";
const CLIENT: &str = "extendedKeyUsage = clientAuth\n";

/// Starts the binaries in `assets` with their files in `directory`.
pub(super) fn start(
    assets: &Path,
    kubectl: &Path,
    directory: &Path,
) -> Result<(Vec<Service>, Cluster)> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let authority = Authority::new(directory)?;
    let [client_port, peer_port, port] = free_ports()?;
    let (client_url, peer_url) = (
        format!("http://127.0.0.1:{client_port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );

    let mut etcd = ends_with_us(assets.join("etcd"));
    etcd.arg("--data-dir").arg(directory.join("etcd"));
    etcd.args([
        "--listen-client-urls",
        &client_url,
        "--advertise-client-urls",
        &client_url,
    ]);
    etcd.args([
        "--listen-peer-urls",
        &peer_url,
        "--initial-advertise-peer-urls",
        &peer_url,
    ]);
    etcd.args([
        "--initial-cluster",
        &format!("default={peer_url}"),
        "--unsafe-no-fsync",
    ]);
    let etcd = Service::start(&mut etcd, &directory.join("etcd.log"))?;

    let audit_log = directory.join("audit.log");
    let mut server = ends_with_us(assets.join("kube-apiserver"));
    server.args(arguments(
        directory,
        &authority,
        port,
        &client_url,
        &audit_log,
    )?);
    let server = Service::start(&mut server, &directory.join("kube-apiserver.log"))?;

    let cluster = Cluster {
        kubeconfig: authority.admin_kubeconfig(port)?,
        server: format!("https://127.0.0.1:{port}"),
        ca_file: authority.certificate(),
        audit_log: Some(audit_log),
        service_account_issuer: ISSUER.to_owned(),
        node: None,
        rest: BTreeMap::new(),
        certs: authority.provider()?,
    };
    wait_until_ready(kubectl, &cluster, directory)?;
    Ok((vec![server, etcd], cluster))
}

fn arguments(
    directory: &Path,
    authority: &Authority,
    port: u16,
    etcd: &str,
    audit_log: &Path,
) -> Result<Vec<String>> {
    let (certificate, key) = authority.issue("kube-apiserver", "/CN=kube-apiserver", SERVING)?;
    let policy = directory.join("audit-policy.yaml");
    write(&policy, AUDIT_POLICY)?;
    let (ca, signing) = (authority.certificate(), authority.service_account_key()?);
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    Ok(vec![
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
        format!("--etcd-servers={etcd}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        // Without a controller no namespace gets its default ServiceAccount.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--service-account-issuer={ISSUER}"),
        file("service-account-key-file", &signing),
        file("service-account-signing-key-file", &signing),
        file("client-ca-file", &ca),
        file("tls-cert-file", &certificate),
        file("tls-private-key-file", &key),
        file("audit-policy-file", &policy),
        file("audit-log-path", audit_log),
    ])
}

fn wait_until_ready(kubectl: &Path, cluster: &Cluster, directory: &Path) -> Result<()> {
    progress::step(
        "starting etcd and kube-apiserver from KUBEBUILDER_ASSETS",
        || {
            let started = Instant::now();
            loop {
                let mut ready = command(kubectl);
                ready
                    .arg("--kubeconfig")
                    .arg(&cluster.kubeconfig)
                    .args(["get", "--raw", "/readyz"]);
                match capture(&mut ready) {
                    Ok(_) => return Ok(()),
                    Err(error) if started.elapsed() > READY_WITHIN => {
                        return Err(error).with_context(|| {
                            format!("not ready; their logs are in {}", directory.display())
                        });
                    }
                    Err(_) => thread::sleep(LOOK_EVERY),
                }
            }
        },
    )
}

/// Three ports that were free a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// A CA made with openssl.
struct Authority {
    directory: PathBuf,
}

impl Authority {
    fn new(directory: &Path) -> Result<Self> {
        let authority = Self {
            directory: directory.join("pki"),
        };
        let settings = "[req]\ndistinguished_name = name\nx509_extensions = ca\nprompt = no\n\
            [name]\nCN = sallyport-test\n[ca]\nbasicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n";
        write(&authority.path("ca.cnf"), settings)?;
        let mut request = command("openssl");
        request.args([
            "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-config", "ca.cnf",
        ]);
        authority.openssl(request.args(["-keyout", "ca.key", "-out", "ca.crt"]))?;
        Ok(authority)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn certificate(&self) -> PathBuf {
        self.path("ca.crt")
    }

    fn openssl(&self, command: &mut std::process::Command) -> Result<()> {
        capture(command.current_dir(&self.directory)).map(drop)
    }

    /// A certificate and its key for `subject`.
    fn issue(&self, name: &str, subject: &str, extensions: &str) -> Result<(PathBuf, PathBuf)> {
        let file = |extension: &str| format!("{name}.{extension}");
        let mut request = command("openssl");
        request.args([
            "req", "-newkey", "rsa:2048", "-noenc", "-subj", subject, "-config", "ca.cnf",
        ]);
        self.openssl(request.args(["-keyout", &file("key"), "-out", &file("csr")]))?;
        write(&self.path(&file("cnf")), extensions)?;
        let mut sign = command("openssl");
        sign.args([
            "x509",
            "-req",
            "-days",
            "2",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
        ]);
        self.openssl(sign.args([
            "-in",
            &file("csr"),
            "-out",
            &file("crt"),
            "-extfile",
            &file("cnf"),
        ]))?;
        Ok((self.path(&file("crt")), self.path(&file("key"))))
    }

    fn service_account_key(&self) -> Result<PathBuf> {
        let mut generate = command("openssl");
        self.openssl(generate.args(["genrsa", "-out", "service-account.key", "2048"]))?;
        Ok(self.path("service-account.key"))
    }

    fn provider(&self) -> Result<Certificates> {
        let (oidc_cert, oidc_key) = self.issue("oidc", "/CN=oidc", SERVING)?;
        Ok(Certificates {
            oidc_cert,
            oidc_key,
            oidc_ca: self.certificate(),
        })
    }

    fn admin_kubeconfig(&self, port: u16) -> Result<PathBuf> {
        let (certificate, key) = self.issue("admin", "/O=system:masters/CN=admin", CLIENT)?;
        let (server, ca) = (format!("https://127.0.0.1:{port}"), self.certificate());
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": ca } }],
            "users": [{ "name": "test", "user": { "client-certificate": certificate, "client-key": key } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        let path = self.path("admin.kubeconfig");
        write(&path, kubeconfig.to_string())?;
        Ok(path)
    }
}
