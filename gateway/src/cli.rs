//! The command line: noun-verb commands, one file each. Arguments in, a library call, text or JSON out.

// They panic where nobody reads any more: `say!` and `note!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::{is_closed_pipe, note, told};

mod agents;
mod approvals;
mod audit;
mod break_glass;
mod ca;
mod coverage;
mod credential;
mod debug;
mod discover;
mod doctor;
mod evidence;
mod kubeconfig;
mod manifests;
#[cfg(target_os = "linux")]
mod node;
mod objects;
mod output;
mod person;
mod policy;
mod prepare;
mod rbac;
mod refusals;
mod reports;
mod service;
mod start_gate;
mod streams;
mod table;
mod text;
mod trace;
mod wait;

/// The oldest minor version of Kubernetes 1 that has all that is installed: MutatingAdmissionPolicy in v1, and
/// constrained impersonation.
const OLDEST: u32 = 36;

/// `EX_TEMPFAIL`: nobody has decided yet, or nobody could say that what was done is in force everywhere.
const TEMPORARY: u8 = 75;

/// The gateway between AI agents and the Kubernetes API.
#[derive(Debug, Parser)]
#[command(name = "sallyport", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  sallyport gateway --config gateway.yaml --check
  sallyport audit list --config gateway.yaml --since 1h
  sallyport kubeconfig --server https://sallyport.example:6443 --certificate-authority ca.crt --github";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway, or check its configuration.
    #[command(after_help = service::GATEWAY_HELP)]
    Gateway(service::Args),
    /// Run the node agent, or remove what it has set up.
    #[cfg(target_os = "linux")]
    Node(node::Args),
    /// Run the controller, or check its configuration.
    #[command(after_help = service::CONTROLLER_HELP)]
    Controller(service::Args),
    /// Wait until this pod's connections to the API server lead to the gateway: the init container of agents' pods.
    StartGate(start_gate::Args),
    /// Print a first install for a cluster.
    Manifests(manifests::Args),
    /// Make the authority of the gateways' certificates.
    #[command(subcommand)]
    Ca(ca::Command),
    /// Say which namespaces are agents' namespaces; stop agents, and let them go on.
    #[command(subcommand)]
    Agents(agents::Command),
    /// Print what RBAC must say for agents.
    #[command(subcommand)]
    Rbac(rbac::Command),
    /// Check, test and explain policies before they are in force.
    #[command(subcommand)]
    Policy(policy::Command),
    /// See which calls of agents wait for people, and decide on them.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Let agents do for a quarter of an hour what policies deny, with a second person; end it.
    #[command(subcommand)]
    BreakGlass(break_glass::Command),
    /// Wait until people have decided on a call.
    Wait(wait::Args),
    /// Read the record: list calls, show one in full, follow what happens.
    #[command(subcommand)]
    Audit(audit::Command),
    /// See what runs through the gateways now, and end it.
    #[command(subcommand)]
    Streams(streams::Command),
    /// Find the calls that a placeholder in a chat, a log or a pull request was given to.
    Trace(trace::Args),
    /// Show which pods are captured, and why others are not.
    Coverage(coverage::Args),
    /// Show which workloads talk to the API server today.
    Discover(discover::Args),
    /// Check whether this node and the cluster can do what capture needs, and say what to do.
    Doctor(doctor::Args),
    /// Write a kubeconfig for an agent outside the cluster.
    Kubeconfig(kubeconfig::Args),
    /// Print an ExecCredential for kubectl; the kubeconfig that `sallyport kubeconfig` writes runs this.
    #[command(hide = true)]
    Credential(credential::Args),
    /// Make directories for the gateway; the init container of the gateway's pod runs this.
    #[command(hide = true)]
    Prepare(prepare::Args),
    /// See how this version understands a request or a cluster, and print its CRDs.
    #[command(subcommand)]
    Debug(debug::Command),
}

/// Runs the command line of this process. An error is printed once, with its causes; that nobody reads on is none.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Gateway(args) => service::gateway(&args),
        #[cfg(target_os = "linux")]
        Command::Node(args) => node::run(args),
        Command::Controller(args) => service::controller(&args),
        Command::StartGate(args) => start_gate::run(&args),
        Command::Manifests(args) => manifests::run(args),
        Command::Ca(command) => ca::run(command),
        Command::Agents(command) => agents::run(command),
        Command::Rbac(command) => rbac::run(command),
        Command::Policy(command) => policy::run(command),
        Command::Approvals(command) => approvals::run(command),
        Command::BreakGlass(command) => break_glass::run(command),
        Command::Wait(args) => wait::run(args),
        Command::Audit(command) => audit::run(command),
        Command::Streams(command) => streams::run(command),
        Command::Trace(args) => trace::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Discover(args) => discover::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Kubeconfig(args) => kubeconfig::run(args),
        Command::Credential(args) => credential::run(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Debug(command) => debug::run(command),
    };
    match outcome {
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note!("error: {}", told(&error));
            ExitCode::FAILURE
        }
        Ok(code) => code,
    }
}
