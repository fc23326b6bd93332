//! A captured agent: stock kubectl in a pod, what is recorded of it, three ways around the gateway and how each
//! fails, and what the cluster says of its pods' coverage.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    agent::shown,
    gateway::Gateway,
    node_agent::{Node, apply, wait_for_phase},
    objects::kubectl,
    site::Site,
};
use crate::{
    command::{capture, command, line},
    progress,
    test::Environment,
    workspace,
};

const NAMESPACE: &str = "sallyport-demo-captured";
const POD: &str = "reviewer";
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The agent's whole story.
pub(super) fn show(site: &Site, environment: &Environment, gateway: &Gateway) -> Result<()> {
    let node = Node::of(environment).map_err(anyhow::Error::msg)?;
    makes_agents_namespace(environment, gateway)?;
    let what = "creating its pod; the start gate lets it begin once it is captured";
    progress::step(what, || {
        apply(environment, &node.fill(site, "captured-pod.yaml")?)?;
        wait_for_phase(environment, NAMESPACE, POD)
    })?;
    let pod = Pod { environment };
    works(&pod, site)?;
    ways_around(&pod, &node)?;
    covered(environment)
}

fn makes_agents_namespace(environment: &Environment, gateway: &Gateway) -> Result<()> {
    println!(
        "\nAn agent in a pod that knows nothing of Sallyport: stock kubectl, in-cluster configuration."
    );
    println!(
        "Its namespace becomes an agents' namespace, and admission gives its pods our token and our CA:"
    );
    println!("  $ sallyport agents enforce {NAMESPACE} --ca-file tls/ca.crt");
    let mut enforce = command(workspace::gateway());
    enforce.args(["agents", "enforce", NAMESPACE, "--ca-file"]);
    enforce.arg(&gateway.ca).arg("--kubeconfig");
    succeeds(enforce.arg(&environment.cluster.kubeconfig))
}

fn works(pod: &Pod<'_>, site: &Site) -> Result<()> {
    println!("  In the pod:");
    let create = [
        "kubectl",
        "create",
        "configmap",
        "findings",
        "--from-literal=count=3",
    ];
    pod.does(&create)?;
    pod.does(&["kubectl", "get", "configmaps"])?;
    println!("  What was recorded, with the pod and the program as the kernel saw them:");
    let filter = [
        "audit",
        "list",
        "--agent",
        "reviewer",
        "--resource",
        "configmaps",
        "--config",
    ];
    let mut list = command(workspace::gateway());
    succeeds(list.args(filter).arg(site.path("gateway.yaml")))?;
    shows_process(site)
}

fn ways_around(pod: &Pod<'_>, node: &Node) -> Result<()> {
    const DENIED: &str = "Operation not permitted";
    let endpoint = node.addresses.first().context("the node has an address")?;
    let python = pod.environment.python.display().to_string();
    println!("\nThree ways around the gateway, from inside of the pod:");
    println!(
        "  1. To the API server's own endpoint, trusting any certificate: the gateway answers there too."
    );
    let url = format!("https://{endpoint}:6443/api/v1/namespaces/{NAMESPACE}/secrets");
    let curl = ["curl", "--silent", "--insecure", "--max-time", "5", &url];
    pod.is_refused(&curl, "Unauthorized")?;
    println!("  2. A packet made by hand, past connect(2): the kernel does not let it out.");
    pod.is_refused(&[&python, "-c", RAW, endpoint], DENIED)?;
    println!("  3. To the kubelet, which runs commands in any pod of the node: not from here.");
    let kubelet = format!("{endpoint}:10250");
    pod.is_refused(&[&python, "-c", CONNECT, &kubelet], DENIED)
}

fn covered(environment: &Environment) -> Result<()> {
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
