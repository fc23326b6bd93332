//! A captured agent: stock kubectl in a pod, what is recorded of it, three ways around the gateway and how each
//! fails, and what the cluster says of its pods' coverage.

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{agent::shown, gateway::Gateway, objects::kubectl, site::Site};
use crate::{
    command::{capture, command, ends_with_us, feed, is_root, line},
    progress,
    service::Service,
    test::Environment,
    workspace,
};

const NAMESPACE: &str = "sallyport-demo-captured";
const POD: &str = "reviewer";
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The node agent with its programs in the kernel; they go with it, since their pins are in a mount of its own.
pub(super) struct NodeAgent {
    pub(super) socket: PathBuf,
    _service: Service,
}

/// What a start needs and this machine or cluster may not have.
struct Node {
    name: String,
    cgroups: String,
    netns: String,
    addresses: Vec<String>,
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
            service.wait_for(WITHIN, |line| line.contains("\"listening\"").then_some(()))?;
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
    fn of(environment: &Environment) -> Result<Self, &'static str> {
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

    fn fill(&self, site: &Site, name: &str) -> Result<String> {
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
fn manifests(environment: &Environment) -> Command {
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

fn apply(environment: &Environment, text: &str) -> Result<()> {
    let mut apply = kubectl(environment);
    apply.args(["apply", "--server-side", "--filename", "-"]);
    feed(&mut apply, text).map(drop)
}

/// The node has a network once a pod with one runs.
fn wait_for_bystander(environment: &Environment) -> Result<()> {
    wait_for_phase(environment, "sallyport-demo", "bystander")
}

fn wait_for_phase(environment: &Environment, namespace: &str, pod: &str) -> Result<()> {
    let mut wait = kubectl(environment);
    wait.args([
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=60s",
    ]);
    wait.args(["--namespace", namespace, "pod", pod]);
    capture(&mut wait).map(drop)
}

/// The agent's whole story.
pub(super) fn show(site: &Site, environment: &Environment, gateway: &Gateway) -> Result<()> {
    let node = Node::of(environment).map_err(anyhow::Error::msg)?;
    println!(
        "\nAn agent in a pod that knows nothing of Sallyport: stock kubectl, in-cluster configuration."
    );
    println!(
        "Its namespace becomes an agents' namespace, and admission gives its pods our token and our CA:"
    );
    let mut enforce = command(workspace::gateway());
    enforce.args(["agents", "enforce", NAMESPACE, "--ca-file"]);
    enforce
        .arg(&gateway.ca)
        .arg("--kubeconfig")
        .arg(&environment.cluster.kubeconfig);
    println!("  $ sallyport agents enforce {NAMESPACE} --ca-file tls/ca.crt");
    succeeds(&mut enforce)?;
    progress::step(
        "creating its pod; the start gate lets it begin once it is captured",
        || {
            apply(environment, &node.fill(site, "captured-pod.yaml")?)?;
            wait_for_phase(environment, NAMESPACE, POD)
        },
    )?;

    println!("  In the pod:");
    let pod = Pod { environment };
    pod.does(&[
        "kubectl",
        "create",
        "configmap",
        "findings",
        "--from-literal=count=3",
    ])?;
    pod.does(&["kubectl", "get", "configmaps"])?;
    let mut list = command(workspace::gateway());
    list.args([
        "audit",
        "list",
        "--agent",
        "reviewer",
        "--resource",
        "configmaps",
        "--config",
    ]);
    list.arg(site.path("gateway.yaml"));
    println!("  What was recorded, with the pod and the program as the kernel saw them:");
    succeeds(&mut list)?;
    shows_process(site)?;

    println!("\nThree ways around the gateway, from inside of the pod:");
    let endpoint = node.addresses.first().context("the node has an address")?;
    println!(
        "  1. To the API server's own endpoint, trusting any certificate: the gateway answers there too."
    );
    let url = format!("https://{endpoint}:6443/api/v1/namespaces/{NAMESPACE}/secrets");
    pod.is_refused(
        &["curl", "--silent", "--insecure", "--max-time", "5", &url],
        "Unauthorized",
    )?;
    println!("  2. A packet made by hand, past connect(2): the kernel does not let it out.");
    pod.is_refused(
        &[&python(environment), "-c", RAW, endpoint],
        "Operation not permitted",
    )?;
    println!("  3. To the kubelet, which runs commands in any pod of the node: not from here.");
    let kubelet = format!("{endpoint}:10250");
    pod.is_refused(
        &[&python(environment), "-c", CONNECT, &kubelet],
        "Operation not permitted",
    )?;

    println!("\nWhich pods are captured, and why others are not:");
    println!("  $ sallyport coverage -A");
    let mut coverage = command(workspace::gateway());
    coverage.args(["coverage", "-A", "--kubeconfig"]);
    coverage.arg(&environment.cluster.kubeconfig);
    wait_until_covered(&mut coverage)?;
    // Its exit code says that some pods are not scheduled, so nobody knows of them.
    shown(&mut coverage).map(drop)
}

/// The node agent publishes what has changed every few seconds.
fn wait_until_covered(coverage: &mut Command) -> Result<()> {
    let started = Instant::now();
    loop {
        let output = coverage.output()?;
        let table = String::from_utf8_lossy(&output.stdout);
        let captured = |row: &str| row.contains(POD) && row.contains(" captured ");
        if table.lines().any(captured) {
            return Ok(());
        }
        if started.elapsed() > WITHIN {
            bail!("the coverage report does not say that {POD} is captured: {table}");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A SYN to port 6443 in a packet of our own making.
const RAW: &str = "\
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
syn = struct.pack('!HHIIBBHHH', 40000, 6443, 1, 0, 5 << 4, 2, 1024, 0, 0)
try:
    raw.sendto(syn, (sys.argv[1], 0))
except OSError as error:
    sys.exit(f'sendto: {error}')";

const CONNECT: &str = "\
import socket, sys
host, port = sys.argv[1].rsplit(':', 1)
try:
    socket.create_connection((host, int(port)), timeout=5)
except OSError as error:
    sys.exit(f'connect: {error}')";

fn python(environment: &Environment) -> String {
    environment.python.display().to_string()
}

/// The record names the program that called.
fn shows_process(site: &Site) -> Result<()> {
    let started = Instant::now();
    let mut list = command(workspace::gateway());
    list.args([
        "audit", "list", "--agent", "reviewer", "-o", "json", "--config",
    ]);
    list.arg(site.path("gateway.yaml"));
    loop {
        let records: Vec<Value> = serde_json::from_str(&capture(&mut list)?)?;
        let exe = records
            .iter()
            .find_map(|record| record["process"]["exe"].as_str());
        if let Some(exe) = exe {
            println!("    process.exe  {exe}");
            return Ok(());
        }
        if started.elapsed() > WITHIN {
            bail!("no record names the program that called: {records:#?}");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Prints what `command` says, and wants success.
fn succeeds(command: &mut Command) -> Result<()> {
    match shown(command)? {
        (true, _) => Ok(()),
        (false, output) => bail!("`{}` failed: {output}", line(command)),
    }
}

/// The agent's pod. Its commands run in it as `kubectl exec` runs them, which the demo's administrator does.
struct Pod<'a> {
    environment: &'a Environment,
}

impl Pod<'_> {
    fn does(&self, words: &[&str]) -> Result<()> {
        succeeds(&mut self.command(words))
    }

    fn is_refused(&self, words: &[&str], reason: &str) -> Result<()> {
        match shown(&mut self.command(words))? {
            (_, output) if output.contains(reason) => Ok(()),
            (_, output) => bail!("expected a refusal that says {reason:?}, but: {output}"),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut in_words = command(words[0]);
        if words.len() > 2 && words[1] == "-c" {
            println!("    $ python3 … {}", words[3]);
        } else {
            println!("    $ {}", line(in_words.args(&words[1..])));
        }
        let mut exec = kubectl(self.environment);
        exec.args([
            "exec",
            "--namespace",
            NAMESPACE,
            POD,
            "--container",
            "main",
            "--",
        ])
        .args(words);
        exec
    }
}
