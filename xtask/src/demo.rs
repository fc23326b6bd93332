//! `cargo xtask demo`: a real control plane, two agents, and what was recorded of them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::{
    agent::Agent, gateway::Gateway, interrupt::Interrupt, node_agent::NodeAgent, objects::Objects,
    site::Site,
};
use crate::{build, progress, test::Environment, tools::Cache, workspace};

mod agent;
mod captured;
mod evidence;
mod gate;
mod gateway;
mod interrupt;
mod node_agent;
mod objects;
mod site;
mod work;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything running at the end, and say what to try, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use the cluster of this kubeconfig instead of a built one. It must be one where you may create roles: the demo
    /// adds what is in deploy/quickstart/cluster.yaml (two namespaces, and cluster-wide objects sallyport-demo-*) and the
    /// definitions and admission policies of sallyport.dev, and takes them away at the end.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let site = Site::fresh()?;
    let cache = Cache::open()?;
    progress::step("building the gateway", build::quietly)?;
    let environment = Environment::start_in(&cache, site.directory(), args.kubeconfig.as_deref())?;
    let objects = Objects::create(&environment, args.kubeconfig.is_some())?;
    let node_agent = NodeAgent::start(&site, &environment)?;
    let socket = node_agent.as_ref().map(|agent| agent.socket.as_path());
    let gateway = Gateway::start(&site, &environment, socket)?;
    interrupt.check()?;

    let agents = agents(&site, &environment, &gateway)?;
    work::all(&agents)?;
    interrupt.check()?;
    gate::show(&environment, &agents)?;
    interrupt.check()?;
    evidence::all(&site, &environment, &agents)?;
    interrupt.check()?;
    if node_agent.is_some() {
        captured::show(&site, &environment, &gateway)?;
    }
    if args.keep {
        keep(&site, &environment, &agents, &gateway, &interrupt);
    }
    drop(gateway);
    drop(node_agent);
    drop(objects);
    Ok(())
}

/// The assistant in a pod and the bot in CI, each with the token it would have there.
struct Agents {
    coder: Agent,
    release_bot: Agent,
}

fn agents(site: &Site, environment: &Environment, gateway: &Gateway) -> Result<Agents> {
    progress::step("getting a token for each agent", || {
        let agent = |name, token: String| Agent::new(name, &token, site, environment, gateway);
        Ok(Agents {
            coder: agent("coder", objects::pod_token(environment)?)?,
            release_bot: agent("release-bot", objects::ci_token(environment)?)?,
        })
    })
}

fn keep(
    site: &Site,
    environment: &Environment,
    agents: &Agents,
    gateway: &Gateway,
    interrupt: &Interrupt,
) {
    let shown = |path: &Path| workspace::relative(path).display().to_string();
    let kubectl = |path: &Path, rest: &str| {
        let kubectl = environment.kubectl.display();
        println!("  {kubectl} --kubeconfig {} {rest}", shown(path));
    };
    println!("\nIt keeps running until Ctrl-C.");
    println!("\nWork as an agent:");
    kubectl(&agents.coder.kubeconfig, "describe secret shop-database");
    kubectl(&agents.release_bot.kubeconfig, "get deployments");
    println!("as the cluster's administrator:");
    kubectl(&environment.cluster.kubeconfig, "get pods --all-namespaces");
    println!("and see what was recorded, or what the gateway says of itself:");
    println!("  {}", evidence::list_command(site));
    println!("  curl --silent http://{}/metrics", gateway.admin);
    println!(
        "\nChange `effect: Deny` to `effect: Allow` in {}; at once this is allowed:",
        shown(&site.path("policies/coder.yaml"))
    );
    kubectl(&agents.coder.kubeconfig, "delete configmap shop-settings");
    println!(
        "A mistake in that file changes nothing but the log, {}.",
        shown(&site.path("gateway.log"))
    );
    interrupt.wait();
}
