//! The node agent of the demo, with the configuration of `deploy/quickstart/node.yaml`, and what it needs in the cluster.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use serde_json::Value;

use super::{objects::kubectl, site::Site};
use crate::{
    command::{capture, command, ends_with_us, feed, is_root},
    progress,
    service::Service,
    test::Environment,
    workspace,
};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// The node agent with its programs in the kernel; they go with it, since their pins are in a mount of its own.
pub(super) struct NodeAgent {
    pub(super) socket: PathBuf,
    _service: Service,
}

/// What a start needs and this machine or cluster may not have.
pub(super) struct Node {
    name: String,
    cgroups: String,
    netns: String,
    /// IPv4, then IPv6.
    pub(super) addresses: Vec<String>,
}

impl NodeAgent {
    /// None, and a word why, where kernel programs cannot be loaded or the cluster is not ours.
    pub(super) fn start(site: &Site, environment: &Environment) -> Result<Option<Self>> {
        let node = match Node::of(environment) {
            Ok(node) => node,
            Err(obstacle) => {
                println!("\nNo captured agent in this demo: {obstacle}.");
                return Ok(None);
            }
        };
        progress::step(
            "installing the admission policies (sallyport manifests)",
            || {
                let manifests = capture(&mut manifests(environment))?;
                apply(environment, &manifests)?;
                apply(environment, &node.fill(site, "captured.yaml")?)
            },
        )?;
        progress::step("starting the node agent", || {
            let config = node.config(site, environment)?;
            wait_for_bystander(environment)?;
            let mut start = ends_with_us("unshare");
            start.args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-euc",
                START,
                "sh",
            ]);
            start
                .arg(site.path("bpf"))
                .arg(workspace::gateway())
                .arg(config);
            let mut service = Service::start(&mut start, &site.path("node.log"))?;
            service.wait_for(READY_WITHIN, |line| {
                line.contains("\"listening\"").then_some(())
            })?;
            Ok(Some(Self {
                socket: site.path("node.sock"),
                _service: service,
            }))
        })
    }
}

const START: &str = "\
mkdir -p \"$1\"
mount -t bpf bpf \"$1\"
exec \"$2\" node --log-format json --config \"$3\"";

impl Node {
    pub(super) fn of(environment: &Environment) -> Result<Self, &'static str> {
        if !cfg!(target_os = "linux") || !is_root() {
            return Err(
                "loading kernel programs takes root on Linux; run `sudo -E cargo xtask demo`",
            );
        }
        let cluster = &environment.cluster;
        let text = |name: &str| cluster.rest.get(name)?.as_str().map(str::to_owned);
        let addresses = cluster.rest.get("nodeAddresses").and_then(Value::as_array);
        let addresses = addresses.into_iter().flatten();
        let found = || {
            Some(Self {
                name: cluster.node.clone()?,
                cgroups: text("cgroups")?,
                netns: text("nodeNetns")?,
                addresses: addresses
                    .filter_map(|ip| ip.as_str().map(str::to_owned))
                    .collect(),
            })
        };
        found().ok_or("the cluster has no node on this machine, or the machine has no cgroup2")
    }

    pub(super) fn fill(&self, site: &Site, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(
            site.fill(name, &[("NODE", &self.name)])?,
        )?)
    }

    fn config(&self, site: &Site, environment: &Environment) -> Result<PathBuf> {
        let directory = site.directory().display().to_string();
        let kubeconfig = environment.cluster.kubeconfig.display().to_string();
        site.fill(
            "node.yaml",
            &[
                ("NODE", &self.name),
                ("KUBECONFIG", &kubeconfig),
                ("SITE", &directory),
                ("CGROUPS", &self.cgroups),
                ("NETNS", &self.netns),
            ],
        )
    }
}

/// What is installed in a cluster, as the CLI prints it. Nobody here runs the DaemonSets in it.
pub(super) fn manifests(environment: &Environment) -> Command {
    let mut manifests = command(workspace::gateway());
    manifests.args([
        "manifests",
        "--image",
        "sallyport:demo",
        "--cluster",
        "demo",
        "--issuer",
    ]);
    manifests.arg(&environment.cluster.service_account_issuer);
    manifests
}

pub(super) fn apply(environment: &Environment, text: &str) -> Result<()> {
    let mut apply = kubectl(environment);
    apply.args(["apply", "--server-side", "--filename", "-"]);
    feed(&mut apply, text).map(drop)
}

/// The node has a network once a pod with one runs.
fn wait_for_bystander(environment: &Environment) -> Result<()> {
    wait_for_phase(environment, "sallyport-demo", "bystander")
}

pub(super) fn wait_for_phase(environment: &Environment, namespace: &str, pod: &str) -> Result<()> {
    let mut wait = kubectl(environment);
    wait.args([
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=60s",
    ]);
    wait.args(["--namespace", namespace, "pod", pod]);
    capture(&mut wait).map(drop)
}
