//! Sallyport as `sallyport manifests` installs it, on a control plane of its own: the policies hold for everybody.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use crate::{Api, Cluster, Kubectl, Output, environment, process, wait::eventually};

/// A policy counts less than a second after it is stored.
const ACTS_WITHIN: Duration = Duration::from_secs(60);

/// The image that the manifests name. Nothing pulls it.
const IMAGE: &str = "sallyport:test";

pub struct Installation {
    pub cluster: Cluster,
    binary: PathBuf,
}

impl Installation {
    /// The first test of a run installs; the others wait for it.
    pub fn from_env() -> Result<Self> {
        let cluster: Cluster = environment::json("SALLYPORT_TEST_INSTALLED_CLUSTER").context(
            "a control plane to install on is the built one: run without SALLYPORT_TEST_KUBECONFIG and KUBEBUILDER_ASSETS",
        )?;
        let installation = Self {
            cluster,
            binary: environment::file("SALLYPORT_TEST_GATEWAY")?,
        };
        installation.ensure()?;
        Ok(installation)
    }

    fn ensure(&self) -> Result<()> {
        let mark = self.cluster.kubeconfig.with_extension("installed");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&mark)?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        if file.metadata()?.len() > 0 {
            return Ok(());
        }
        self.apply(&["apply"])?;
        self.wait_until_policies_act()?;
        fs::write(&mark, "installed\n").context("saying that it is installed")
    }

    /// Whoever binds more to the gateway's ServiceAccount, or says that nothing more is, keeps this meanwhile.
    pub fn rights_of_the_gateway(&self) -> Result<Flock<fs::File>> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.cluster.kubeconfig.with_extension("rights"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        lock.map_err(|(_, error)| error.into())
    }

    /// What `sallyport manifests` prints for this cluster.
    pub fn manifests(&self) -> Result<String> {
        self.sallyport(&["manifests", "--image", IMAGE, "--cluster", "test"])?
            .success()
    }

    /// `kubectl VERB … -f -` of the manifests.
    pub fn apply(&self, arguments: &[&str]) -> Result<String> {
        let manifests = self.manifests()?;
        self.kubectl()?
            .run_with_input(&[arguments, &["-f", "-"]].concat(), manifests.as_bytes())?
            .success()
    }

    /// The administrator's kubectl.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::with_kubeconfig(&self.cluster.kubeconfig, "default")
    }

    /// The command line, without a kubeconfig of its own.
    pub fn sallyport(&self, arguments: &[&str]) -> Result<Output> {
        process::run(Command::new(&self.binary).args(arguments), &[])
    }

    /// The command line of the administrator.
    pub fn sallyport_as_admin(&self, arguments: &[&str]) -> Result<Output> {
        let kubeconfig = self.cluster.kubeconfig.display().to_string();
        self.sallyport(&[arguments, &["--kubeconfig", &kubeconfig]].concat())
    }

    /// By what each policy would refuse, or change, if it acted.
    fn wait_until_policies_act(&self) -> Result<()> {
        let api = self.cluster.api()?;
        eventually("the admission policies to act", ACTS_WITHIN, || {
            Ok((labels_act(&api)? && pods_act(&api)? && via_acts(&api)?).then_some(()))
        })
    }
}

fn labels_act(api: &Api) -> Result<bool> {
    let namespace =
        json!({"metadata": {"name": "kube-probe", "labels": {"sallyport.dev/agents": "enforce"}}});
    let answer = api.answer("POST", "/api/v1/namespaces?dryRun=All", &[], &namespace)?;
    Ok(answer.status == 403)
}

fn pods_act(api: &Api) -> Result<bool> {
    let pod = json!({
        "metadata": {"name": "probe", "labels": {"sallyport.dev/agent": "true"}},
        "spec": {"containers": [{"name": "probe", "image": "probe"}]},
    });
    let path = "/api/v1/namespaces/default/pods?dryRun=All";
    let answer = api.answer("POST", path, &[], &pod)?;
    if answer.status != 201 {
        return Ok(false);
    }
    let made = answer.json()?;
    let spec = &made["spec"];
    let token = &spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    let acts = spec["initContainers"][0]["name"] == "sallyport-start-gate"
        && token["audience"] == "sallyport"
        && spec["containers"][0]["securityContext"]["capabilities"]["drop"] == json!(["NET_RAW"]);
    let mut on_host = pod;
    on_host["spec"]["hostNetwork"] = json!(true);
    let refused = api.answer("POST", path, &[], &on_host)?;
    ensure!(refused.status != 422, "{}", refused.text());
    Ok(acts && refused.status == 403)
}

fn via_acts(api: &Api) -> Result<bool> {
    let object = json!({"metadata": {"name": "probe"}});
    let as_agent = [
        ("Impersonate-User", "sallyport:sa:default:probe"),
        ("Impersonate-Group", "system:masters"),
    ];
    let path = "/api/v1/namespaces/default/configmaps?dryRun=All";
    let answer = api.answer("POST", path, &as_agent, &object)?;
    Ok(answer.status == 403)
}
