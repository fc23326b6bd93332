use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};

use crate::{
    app,
    cli::output::say,
    redirect,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Args, Debug)]
struct Run {
    /// The configuration, one YAML file; paths in it are relative to its directory.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// The form of the log on stderr.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Take every program off this node, and remove all that is pinned: agents then reach the API server directly.
    Uninstall(Uninstall),
}

#[derive(clap::Args, Debug)]
struct Uninstall {
    /// The directory in the BPF file system, as node.yaml names it.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/sallyport")]
    pins: PathBuf,
}

const AFTER_HELP: &str = "\
SIGTERM or SIGINT: the node agent ends, and nothing else does: agents' connections go on being led to the gateway, \
which holds the listeners too. A second node agent takes over from the first through the socket. \
RUST_LOG selects log lines; the default is info,hyper=error.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Uninstall(uninstall)) = args.command {
        return remove(&uninstall.pins);
    }
    let config = args.run.config.context("--config names no file")?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let _logs = telemetry::start(args.run.log_format);
    runtime.block_on(app::run_node(&config))?;
    Ok(ExitCode::SUCCESS)
}

fn remove(pins: &Path) -> anyhow::Result<ExitCode> {
    ensure!(
        pins.is_dir(),
        "there is no directory {}: nothing is pinned there; node.yaml says where the node agent pins",
        pins.display()
    );
    let removed = redirect::uninstall(pins)?;
    say!(
        "{}: removed {} links and {} maps. A node agent that still runs puts them back: end it first.",
        pins.display(),
        removed.links,
        removed.maps
    );
    Ok(ExitCode::SUCCESS)
}
