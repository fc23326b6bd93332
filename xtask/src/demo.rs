//! `cargo xtask demo`: a real control plane, two agents, and what was recorded of them.

use std::path::PathBuf;

use anyhow::Result;

use self::{agent::Agent, gateway::Gateway, interrupt::Interrupt, objects::Objects, site::Site};
use crate::{build, progress, test::Environment, tools::Cache, workspace};

mod agent;
mod evidence;
mod gateway;
mod interrupt;
mod objects;
mod site;
mod work;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything running at the end, and say what to try, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use the cluster of this kubeconfig instead of a built one. The demo adds what is in
    /// deploy/quickstart/cluster.yaml and takes it away at the end, unless --keep is given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let site = Site::fresh()?;
    let cache = Cache::open()?;
    progress::step("building the gateway", build::quietly)?;
    let environment = Environment::start_in(&cache, site.directory(), args.kubeconfig.as_deref())?;
    let yours = args.kubeconfig.is_some();
    let objects = Objects::create(&environment, yours && !args.keep)?;
    let gateway = Gateway::start(&site, &environment)?;
    interrupt.check()?;

    let agents = agents(&site, &environment, &gateway)?;
    work::all(&agents)?;
    interrupt.check()?;
    evidence::all(&site, &environment, &agents)?;
    if args.keep {
        keep(&site, &environment, &agents, &interrupt);
    }
    drop(gateway);
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

fn keep(site: &Site, environment: &Environment, agents: &Agents, interrupt: &Interrupt) {
    println!("\nIt keeps running until Ctrl-C. Each agent has a kubeconfig:");
    for agent in [&agents.coder, &agents.release_bot] {
        println!("  {}", workspace::relative(&agent.kubeconfig).display());
    }
    println!(
        "and the cluster's administrator this one:\n  {}",
        workspace::relative(&environment.cluster.kubeconfig).display()
    );
    println!("\nTry:");
    let coder = workspace::relative(&agents.coder.kubeconfig).display();
    println!(
        "  {} --kubeconfig {coder} describe secret shop-database",
        environment.kubectl.display()
    );
    println!("  {}", evidence::list_command(site));
    println!(
        "  edit {}/policies/coder.yaml and see it take effect at once",
        workspace::relative(site.directory()).display()
    );
    interrupt.wait();
}
