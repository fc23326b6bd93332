//! The gate: a call that waits for a person, a secret that an agent sees without its value, and the stop.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Agents,
    agent::{Agent, shown_up_to},
    node_agent::{apply, manifests},
    objects::kubectl,
};
use crate::{
    command::{capture, command, feed, line},
    test::Environment,
    workspace,
};

const CLUSTER_ROLE: &str = "sallyport-demo-viewer";
/// Of what a person reads to decide.
const MOST_LINES: usize = 40;
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The definitions of our objects, and what admission asks of decisions and stops.
pub(super) fn install(environment: &Environment) -> Result<()> {
    apply(environment, &documents(environment)?)
}

/// What [`install`] has made, and what the agent has.
pub(super) fn remove(environment: &Environment) -> Result<()> {
    let mut role = kubectl(environment);
    role.args(["delete", "clusterrole", CLUSTER_ROLE, "--ignore-not-found"]);
    capture(&mut role)?;
    let mut delete = kubectl(environment);
    delete.args(["delete", "--ignore-not-found", "--filename", "-"]);
    feed(&mut delete, &documents(environment)?).map(drop)
}

fn documents(environment: &Environment) -> Result<String> {
    let all = capture(&mut manifests(environment))?;
    let ours = |document: &&str| {
        let names = |name: &str| document.contains(&format!("\n  name: sallyport-{name}"));
        document.contains("kind: CustomResourceDefinition\n")
            || document.contains("kind: ValidatingAdmissionPolic")
                && (names("approval") || names("agent-stop") || names("stop"))
    };
    let documents: Vec<_> = all.split("---\n").filter(ours).collect();
    Ok(documents.join("---\n"))
}

pub(super) fn show(environment: &Environment, agents: &Agents) -> Result<()> {
    people_decide(environment, &agents.coder)?;
    secrets_stay_hidden(&agents.coder)?;
    agents_stop(environment, &agents.coder)
}

/// kubectl waits as for a slow answer, while somebody decides in a second terminal.
fn people_decide(environment: &Environment, coder: &Agent) -> Result<()> {
    println!(
        "\nThe assistant wants a ClusterRole. A rule says that a person decides, so kubectl waits:"
    );
    let rule = ["--verb=get,list", "--resource=pods"];
    let create = [&["create", "clusterrole", CLUSTER_ROLE], &rule[..]].concat();
    let waiting = Waiting::start(coder, &create)?;
    let (namespace, name) = pending(environment)?;
    println!("Meanwhile, in a second terminal:");
    person(environment, &["approvals", "show", &name, "-n", &namespace])?;
    let reason = "it may see what it may see anyway";
    let approve = [
        "approvals",
        "approve",
        &name,
        "-n",
        &namespace,
        "--yes",
        "--reason",
        reason,
    ];
    person(environment, &approve)?;
    println!("And in the first one:");
    waiting.succeeds()
}

fn secrets_stay_hidden(coder: &Agent) -> Result<()> {
    println!("\nA Secret that the assistant may work with and not know. It sees a placeholder:");
    let key = "jsonpath={.data.apiKey}{\"\\n\"}";
    coder.does(&["get", "secret", "shop-payments", "-o", key])?;
    println!("Writing one back would destroy the key, so it is refused:");
    let masked = coder.output(&["get", "secret", "shop-payments", "-o", "json"])?;
    let masked: Value = serde_json::from_str(&masked).context("kubectl prints JSON")?;
    let key = masked["data"]["apiKey"].as_str().context("a key")?;
    let patch = serde_json::json!({"data": {"apiKey": key}}).to_string();
    let patch = [
        "patch",
        "secret",
        "shop-payments",
        "--type",
        "merge",
        "-p",
        &patch,
    ];
    coder.is_refused(&patch, "placeholder")
}

fn agents_stop(environment: &Environment, coder: &Agent) -> Result<()> {
    println!("\nThe stop button. Every gateway of the cluster hears of it:");
    let stop = [
        "agents",
        "stop",
        "coder",
        "--reason",
        "it asks for too much",
    ];
    person(environment, &stop)?;
    until_refused(coder)?;
    coder.is_refused(&["get", "pods"], "stopped")?;
    person(environment, &["agents", "resume", "coder"])?;
    until_served(coder)?;
    coder.does(&["get", "pods"])
}

/// A command of the person who runs the cluster.
fn person(environment: &Environment, args: &[&str]) -> Result<()> {
    println!("  $ {}", line(command("sallyport").args(args)));
    let mut sallyport = command(workspace::gateway());
    sallyport.args(args).arg("--kubeconfig");
    sallyport.arg(&environment.cluster.kubeconfig);
    match shown_up_to(MOST_LINES, &mut sallyport)? {
        (true, _) => Ok(()),
        (false, output) => bail!("`sallyport {}` failed: {output}", args.join(" ")),
    }
}

/// Namespace and name of the request that waits.
fn pending(environment: &Environment) -> Result<(String, String)> {
    let mut list = kubectl(environment);
    list.args(["get", "approvalrequests", "-A", "-o", "json"]);
    wait("the approval request", || {
        let list: Value = serde_json::from_str(&capture(&mut list)?)?;
        let metadata = list["items"][0]["metadata"].clone();
        let text = |field: &str| metadata[field].as_str().map(str::to_owned);
        Ok(text("namespace").zip(text("name")))
    })
}

fn until_refused(agent: &Agent) -> Result<()> {
    wait("the stop to act", || {
        Ok((!agent.runs(&["get", "pods"])?).then_some(()))
    })
}

fn until_served(agent: &Agent) -> Result<()> {
    wait("the agent to be served again", || {
        Ok(agent.runs(&["get", "pods"])?.then_some(()))
    })
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > WITHIN {
            bail!("waited {} s for {what}", WITHIN.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A kubectl that is held.
struct Waiting {
    kubectl: Option<Child>,
    line: String,
}

impl Waiting {
    fn start(agent: &Agent, args: &[&str]) -> Result<Self> {
        println!("  $ {}", line(command("kubectl").args(args)));
        let mut kubectl = agent.command(args);
        let kubectl = kubectl
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self {
            kubectl: Some(kubectl),
            line: args.join(" "),
        })
    }

    fn succeeds(mut self) -> Result<()> {
        let kubectl = self.kubectl.take().context("it was started")?;
        let output = kubectl.wait_with_output()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        text.lines().for_each(|line| println!("    {line}"));
        if !output.status.success() {
            bail!("`kubectl {}` failed: {text}", self.line);
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(kubectl) = &mut self.kubectl {
            // It may have ended by itself.
            let _ended = kubectl.kill().and_then(|()| kubectl.wait());
        }
    }
}
