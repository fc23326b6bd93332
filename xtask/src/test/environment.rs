//! What tests and the demo run against: a control plane, an OIDC provider, unmodified clients.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::assets;
use crate::{
    command::{capture, command, feed, write},
    progress,
    service::Service,
    tools::{Cache, cluster, oidc, python},
    workspace,
};

/// A control plane with everything that tests need beside it; it ends when this is dropped.
pub(crate) struct Environment {
    pub(crate) cluster: Cluster,
    pub(crate) issuer: Issuer,
    pub(crate) kubectl: PathBuf,
    pub(crate) python: PathBuf,
    /// The program behind `cluster`, where it is the one that we build.
    control_plane: Option<PathBuf>,
    /// A second one, on which Sallyport is installed: its admission policies would disturb the tests beside.
    installed: Option<Cluster>,
    directory: PathBuf,
    moto: PathBuf,
    services: Vec<Service>,
}

/// Where the control plane is, in the words of `sallyport-test-cluster`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    #[serde(default)]
    pub(crate) server: String,
    #[serde(default)]
    pub(crate) ca_file: PathBuf,
    #[serde(default)]
    pub(crate) audit_log: Option<PathBuf>,
    #[serde(default)]
    pub(crate) service_account_issuer: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// What tests and the demo of a captured pod read.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, serde_json::Value>,
    pub(crate) certs: Certificates,
}

/// A serving certificate for loopback, for the OIDC provider.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificates {
    pub(crate) oidc_cert: PathBuf,
    pub(crate) oidc_key: PathBuf,
    /// The root of that certificate.
    #[serde(default)]
    pub(super) oidc_ca: PathBuf,
}

/// Where the OIDC provider is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Issuer {
    pub(crate) issuer: String,
    /// The root of its serving certificate.
    #[serde(default)]
    pub(crate) ca_file: PathBuf,
}

impl Environment {
    /// Starts everything in a directory of this process under `target`, or uses the cluster of
    /// `SALLYPORT_TEST_KUBECONFIG` or the binaries of `KUBEBUILDER_ASSETS`.
    pub(crate) fn start(cache: &Cache) -> Result<Self> {
        let given = env::var_os("SALLYPORT_TEST_KUBECONFIG").map(PathBuf::from);
        let directory = workspace::target()
            .join("test")
            .join(std::process::id().to_string());
        Self::start_in(cache, &directory, given.as_deref())
    }

    /// Starts everything with its files in `directory`, but uses the cluster of `kubeconfig` if there is one.
    pub(crate) fn start_in(
        cache: &Cache,
        directory: &Path,
        kubeconfig: Option<&Path>,
    ) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let kubectl = python::kubectl(cache)?;
        let moto = python::moto(cache)?;
        let python = python::interpreter(cache)?;
        let provider = oidc::provider(cache)?;
        let mut services = Vec::new();
        let mut control_plane = None;
        let cluster = match (kubeconfig, env::var_os("KUBEBUILDER_ASSETS")) {
            (Some(kubeconfig), _) => given_cluster(&kubectl, kubeconfig, directory)?,
            (None, Some(assets)) => {
                let (started, cluster) =
                    assets::start(Path::new(&assets), &kubectl, &directory.join("cluster"))?;
                services.extend(started);
                cluster
            }
            (None, None) => {
                let binary = control_plane.insert(cluster::binary(cache)?);
                let (service, cluster) = start_cluster(binary, &pod_path(&kubectl), directory)?;
                services.push(service);
                cluster
            }
        };
        let (service, issuer) = start_provider(&provider, &cluster.certs, directory)?;
        services.push(service);
        Ok(Self {
            cluster,
            issuer,
            kubectl,
            python,
            control_plane,
            installed: None,
            directory: directory.to_owned(),
            moto,
            services,
        })
    }

    /// Starts the second control plane. Without one that we build there is none, and its tests say so.
    pub(crate) fn start_installed(&mut self) -> Result<()> {
        if let Some(binary) = &self.control_plane {
            let directory = self.directory.join("installed");
            fs::create_dir_all(&directory)?;
            let (service, cluster) = start_cluster(binary, &pod_path(&self.kubectl), &directory)?;
            self.services.push(service);
            self.installed = Some(cluster);
        }
        Ok(())
    }

    /// What the tests read from their environment.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let json = |value: serde_json::Result<String>| value.expect("paths of ours are UTF-8");
        let mut variables = vec![
            (
                "SALLYPORT_TEST_CLUSTER",
                json(serde_json::to_string(&self.cluster)),
            ),
            (
                "SALLYPORT_TEST_OIDC",
                json(serde_json::to_string(&self.issuer)),
            ),
            ("SALLYPORT_TEST_KUBECTL", self.kubectl.display().to_string()),
            ("SALLYPORT_TEST_PYTHON", self.python.display().to_string()),
            ("SALLYPORT_TEST_MOTO", self.moto.display().to_string()),
            // For control planes that tests start.
            (POD_PATH, pod_path(&self.kubectl)),
        ];
        if let Some(binary) = &self.control_plane {
            variables.push((
                "SALLYPORT_TEST_CLUSTER_BINARY",
                binary.display().to_string(),
            ));
        }
        if let Some(installed) = &self.installed {
            variables.push((
                "SALLYPORT_TEST_INSTALLED_CLUSTER",
                json(serde_json::to_string(installed)),
            ));
        }
        variables
    }
}

const POD_PATH: &str = "SALLYPORT_POD_PATH";

/// The directories of what a pod's image would hold: kubectl and the binary of the dev profile.
fn pod_path(kubectl: &Path) -> String {
    let programs = [kubectl.to_owned(), workspace::gateway()];
    let directories = programs.iter().filter_map(|program| program.parent());
    let names: Vec<_> = directories.map(|path| path.display().to_string()).collect();
    names.join(":")
}

fn start_cluster(binary: &Path, pod_path: &str, directory: &Path) -> Result<(Service, Cluster)> {
    progress::step("starting the control plane", || {
        let mut up = command(binary);
        up.args(["up", "--dir"]).arg(directory.join("cluster"));
        up.env(POD_PATH, pod_path);
        let mut service = Service::start(&mut up, &directory.join("cluster.log"))?;
        let mut cluster: Cluster = service.announcement()?;
        cluster.certs.oidc_ca.clone_from(&cluster.ca_file);
        Ok((service, cluster))
    })
}

fn start_provider(
    provider: &oidc::Provider,
    certs: &Certificates,
    directory: &Path,
) -> Result<(Service, Issuer)> {
    progress::step("starting the OIDC provider", || {
        let mut serve = provider.command();
        serve
            .arg("--cert")
            .arg(&certs.oidc_cert)
            .arg("--key")
            .arg(&certs.oidc_key);
        let mut service = Service::start(&mut serve, &directory.join("oidc.log"))?;
        let issuer = Issuer {
            ca_file: certs.oidc_ca.clone(),
            ..service.announcement()?
        };
        Ok((service, issuer))
    })
}

/// The cluster of a kubeconfig that a person named; only kubectl can tell what is in it.
fn given_cluster(kubectl: &Path, kubeconfig: &Path, directory: &Path) -> Result<Cluster> {
    let kubeconfig = kubeconfig
        .canonicalize()
        .with_context(|| format!("cannot find the kubeconfig {}", kubeconfig.display()))?;
    let view = |template: &str| {
        let mut view = command(kubectl);
        view.arg("--kubeconfig").arg(&kubeconfig).args([
            "config",
            "view",
            "--minify",
            "--flatten",
            "--raw",
            "-o",
        ]);
        capture(view.arg(format!("jsonpath={template}")))
    };
    let ca = view("{.clusters[0].cluster.certificate-authority-data}")?;
    let ca_file = directory.join("cluster-ca.crt");
    write(&ca_file, &feed(command("base64").arg("-d"), &ca)?)?;
    let mut discovery = command(kubectl);
    discovery.arg("--kubeconfig").arg(&kubeconfig).args([
        "get",
        "--raw",
        "/.well-known/openid-configuration",
    ]);
    let discovery: Discovery = serde_json::from_str(&capture(&mut discovery)?)
        .context("the cluster does not say who issues its ServiceAccount tokens")?;
    Ok(Cluster {
        server: view("{.clusters[0].cluster.server}")?,
        ca_file,
        audit_log: None,
        service_account_issuer: discovery.issuer,
        node: None,
        rest: BTreeMap::new(),
        certs: self_signed(directory)?,
        kubeconfig,
    })
}

/// What we read of an OpenID Connect discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// A certificate for loopback that is its own root.
fn self_signed(directory: &Path) -> Result<Certificates> {
    let settings = "[req]\ndistinguished_name = name\nx509_extensions = leaf\nprompt = no\n\
        [name]\nCN = 127.0.0.1\n\
        [leaf]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n";
    let config = directory.join("oidc.cnf");
    write(&config, settings)?;
    let (oidc_cert, oidc_key) = (directory.join("oidc.crt"), directory.join("oidc.key"));
    let mut request = command("openssl");
    request
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-config",
        ])
        .arg(&config);
    request
        .arg("-out")
        .arg(&oidc_cert)
        .arg("-keyout")
        .arg(&oidc_key);
    capture(&mut request)?;
    Ok(Certificates {
        oidc_ca: oidc_cert.clone(),
        oidc_cert,
        oidc_key,
    })
}
