//! The control plane, as its administrator sees it.

use std::{
    env, fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    PrivateCluster, Tools, Wire, environment, process,
    raw::{RawClient, Response},
    wire::Protocol,
};

/// Of a line of the API server's audit log, with the call's id in it.
const BEGINNING: usize = 200;

/// The group of every user that the gateway impersonates.
const AGENTS_GROUP: &str = "sallyport:agents";

/// Where the control plane is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    pub kubeconfig: PathBuf,
    pub server: String,
    pub ca_file: PathBuf,
    /// The API server's own audit log; only a control plane of ours has it in reach.
    #[serde(default)]
    pub audit_log: Option<PathBuf>,
    pub service_account_issuer: String,
    /// Pods that name it run as processes of this machine; only a control plane of ours has one.
    #[serde(default)]
    pub node: Option<String>,
    /// Where pods with a network of their own have their cgroups: the directory that holds `kubepods`.
    #[serde(default)]
    pub cgroups: Option<PathBuf>,
    /// The network namespace that stands for the node's host, from the first such pod on.
    #[serde(default)]
    pub node_netns: Option<PathBuf>,
    /// Its addresses, IPv4 and IPv6; the API server is at [`Self::ENDPOINT_PORT`] of each.
    #[serde(default)]
    pub node_addresses: Vec<IpAddr>,
    /// Of the Service `kubernetes`, port 443.
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: Option<IpAddr>,
    #[serde(default)]
    pub certs: Option<Certificates>,
    /// Holds the CA where the kubeconfig has it inline.
    #[serde(skip)]
    _directory: Option<Arc<TempDir>>,
}

/// What the OIDC provider serves with.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    pub oidc_cert: PathBuf,
}

impl Cluster {
    pub const ENDPOINT_PORT: u16 = 6443;

    /// Every address at which a pod finds the API server.
    pub fn api_addresses(&self) -> Vec<IpAddr> {
        self.node_addresses
            .iter()
            .copied()
            .chain(self.cluster_ip)
            .collect()
    }

    pub fn from_env() -> Result<Self> {
        match env::var_os("SALLYPORT_TEST_KUBECONFIG") {
            Some(kubeconfig) if env::var_os("SALLYPORT_TEST_CLUSTER").is_none() => {
                Self::of(Path::new(&kubeconfig))
            }
            _ => environment::json("SALLYPORT_TEST_CLUSTER"),
        }
    }

    /// A second control plane, for what would disturb the tests beside.
    pub fn start_private() -> Result<PrivateCluster> {
        PrivateCluster::start()
    }

    /// Any cluster: what is not in the kubeconfig is asked of the API server.
    fn of(kubeconfig: &Path) -> Result<Self> {
        let credentials = Credentials::read(kubeconfig)?;
        let directory = tempfile::tempdir()?;
        let ca_file = directory.path().join("ca.crt");
        fs::write(&ca_file, &credentials.ca)?;
        let discovery = credentials
            .api()?
            .get("/.well-known/openid-configuration")?;
        Ok(Self {
            kubeconfig: kubeconfig.to_owned(),
            server: credentials.server,
            ca_file,
            audit_log: None,
            service_account_issuer: discovery["issuer"]
                .as_str()
                .context("discovery names no issuer")?
                .to_owned(),
            node: None,
            cgroups: None,
            node_netns: None,
            node_addresses: Vec::new(),
            cluster_ip: None,
            certs: None,
            _directory: Some(Arc::new(directory)),
        })
    }

    pub fn ca(&self) -> Result<Vec<u8>> {
        fs::read(&self.ca_file).with_context(|| format!("reading {}", self.ca_file.display()))
    }

    /// The API server for the administrator.
    pub fn api(&self) -> Result<Api> {
        Credentials::read(&self.kubeconfig)?.api()
    }

    /// The API server for `user`, whom the administrator impersonates as the gateway does.
    pub fn wire_as(&self, protocol: Protocol, user: &str) -> Result<Wire> {
        let credentials = Credentials::read(&self.kubeconfig)?;
        let identity = (
            credentials.certificate.as_slice(),
            credentials.key.as_slice(),
        );
        Ok(
            Wire::new(protocol, &self.server, &credentials.ca, Some(identity))?
                .with_header("impersonate-user", user)
                .with_header("impersonate-group", AGENTS_GROUP),
        )
    }

    /// The administrator's kubeconfig, impersonating `user` as the gateway does.
    pub fn kubeconfig_as(&self, user: &str) -> Result<Value> {
        let mut config = view(&self.kubeconfig)?;
        let entry = &mut config["users"][0]["user"];
        entry["as"] = json!(user);
        entry["as-groups"] = json!([AGENTS_GROUP]);
        Ok(config)
    }

    /// The API server for nobody yet.
    pub fn anonymous(&self) -> Result<RawClient> {
        RawClient::new(&self.server, &self.ca()?, None)
    }

    /// The administrator's kubeconfig, with another way to the same API server.
    pub(crate) fn kubeconfig_by(&self, way: SocketAddr) -> Result<Value> {
        let mut config = view(&self.kubeconfig)?;
        let (host, _) = self
            .server
            .trim_start_matches("https://")
            .rsplit_once(':')
            .context("the API server's address names no port")?;
        let cluster = &mut config["clusters"][0]["cluster"];
        cluster["server"] = json!(format!("https://{way}"));
        cluster["tls-server-name"] = json!(host);
        Ok(config)
    }

    /// The events of the API server's audit log so far, of which `wanted` is said.
    pub fn audit_events(&self, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        self.audit_lines(|_| true, wanted)
    }

    /// Those of one call. The log is long, and the id stands behind kind, version and level.
    pub fn audit_events_of(&self, audit_id: &str) -> Result<Vec<Value>> {
        let names_it = |line: &[u8]| {
            let beginning = String::from_utf8_lossy(&line[..line.len().min(BEGINNING)]);
            beginning.contains(audit_id)
        };
        self.audit_lines(names_it, |event| event["auditID"] == audit_id)
    }

    fn audit_lines(
        &self,
        parsed: impl Fn(&[u8]) -> bool,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let path = self.audit_log.as_ref().context(
            "this cluster's audit log is out of reach: run against the built control plane",
        )?;
        let text = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.with_context(|| format!("reading {}", path.display()))?,
        };
        // The last line may still be on its way.
        let events = text
            .split(|byte| *byte == b'\n')
            .filter(|line| parsed(line))
            .filter_map(|line| serde_json::from_slice(line).ok());
        Ok(events.filter(wanted).collect())
    }
}

/// A kubeconfig's current context, which kubectl itself reads for us.
struct Credentials {
    server: String,
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    fn read(kubeconfig: &Path) -> Result<Self> {
        let config = view(kubeconfig)?;
        let (cluster, user) = (
            &config["clusters"][0]["cluster"],
            &config["users"][0]["user"],
        );
        let decode = |value: &Value, name: &str| -> Result<Vec<u8>> {
            let text = value[name]
                .as_str()
                .with_context(|| format!("{} has no {name}", kubeconfig.display()))?;
            Ok(BASE64_STANDARD.decode(text)?)
        };
        Ok(Self {
            server: cluster["server"]
                .as_str()
                .context("the kubeconfig names no server")?
                .to_owned(),
            ca: decode(cluster, "certificate-authority-data")?,
            certificate: decode(user, "client-certificate-data")?,
            key: decode(user, "client-key-data")?,
        })
    }

    fn api(&self) -> Result<Api> {
        let client = RawClient::new(&self.server, &self.ca, Some((&self.certificate, &self.key)))?;
        Ok(Api { client })
    }
}

fn view(kubeconfig: &Path) -> Result<Value> {
    let mut view = Command::new(Tools::from_env()?.kubectl);
    view.arg("--kubeconfig").arg(kubeconfig);
    view.args([
        "config",
        "view",
        "--raw",
        "--flatten",
        "--minify",
        "-o",
        "json",
    ]);
    Ok(serde_json::from_str(
        &process::run(&mut view, &[])?.success()?,
    )?)
}

/// Plain JSON calls for what surrounds a test; what is tested goes through real clients.
#[derive(Clone)]
pub struct Api {
    client: RawClient,
}

impl Api {
    pub fn get(&self, path: &str) -> Result<Value> {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Value> {
        accepted(
            "GET",
            path,
            &self.client.request("GET", path, headers, &[])?,
        )
    }

    /// The bytes of an answer in a format that is asked for.
    pub fn read(&self, path: &str, accept: &str) -> Result<Vec<u8>> {
        let answer = self
            .client
            .request("GET", path, &[("Accept", accept)], &[])?;
        ensure!(
            answer.status == 200
                && answer
                    .header("content-type")
                    .is_some_and(|kind| kind.starts_with(accept)),
            "GET {path} as {accept}: {} {:?}",
            answer.status,
            answer.header("content-type")
        );
        Ok(answer.body)
    }

    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let headers = [("Content-Type", "application/json")];
        let body = serde_json::to_vec(object)?;
        accepted(
            "POST",
            path,
            &self.client.request("POST", path, &headers, &body)?,
        )
    }

    /// Merges `change` into what is there.
    pub fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        accepted("PATCH", path, &self.answer("PATCH", path, &[], change)?)
    }

    /// The answer whatever it is. A merge patch is sent as one, everything else as JSON.
    pub fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        object: &Value,
    ) -> Result<Response> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let headers = [headers, &[("Content-Type", content_type)]].concat();
        let body = serde_json::to_vec(object)?;
        self.client.request(method, path, &headers, &body)
    }

    /// Deletes at once, without a grace period.
    pub fn delete(&self, path: &str) -> Result<Value> {
        let headers = [("Content-Type", "application/json")];
        let body = serde_json::to_vec(
            &json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
        )?;
        accepted(
            "DELETE",
            path,
            &self.client.request("DELETE", path, &headers, &body)?,
        )
    }

    /// The answer to a TokenReview for `audience`.
    pub fn review(&self, token: &str, audience: &str) -> Result<Value> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        Ok(self.create("/apis/authentication.k8s.io/v1/tokenreviews", &review)?["status"].clone())
    }
}

fn accepted(method: &str, path: &str, response: &Response) -> Result<Value> {
    ensure!(
        (200..300).contains(&response.status),
        "{method} {path}: {} {}",
        response.status,
        response.text()
    );
    response.json()
}
