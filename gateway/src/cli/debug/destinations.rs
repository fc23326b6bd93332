use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    app,
    cli::output::stdout,
    config::node::NodeConfig,
    node::show_destinations,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Args {
    /// The node agent's configuration. Nothing on this machine is touched.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Go on, with one JSON object a line whenever the list changes, until interrupted.
    #[arg(long)]
    follow: bool,
}

const AFTER_HELP: &str = "\
`redirected` are the ways to the API server that lead agents to the gateway, with the names on its certificate. \
`guarded` is what agents cannot reach directly: addresses with one port, or with all where none is shown. It waits for \
as long as the API server does not answer; why not is on stderr.

Example:
  sallyport debug destinations --config node.yaml | jq -r '.redirected[].address'";

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::load(&args.config)?;
    let _logs = telemetry::start(LogFormat::Text);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let mut printed = Ok(());
    runtime.block_on(async {
        let client = app::node_client(&config).await?;
        let print = |list: Value| {
            printed = print(&list, args.follow);
            if args.follow && printed.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        show_destinations(client, config, print).await;
        anyhow::Ok(())
    })?;
    printed.context("printing the list")?;
    Ok(ExitCode::SUCCESS)
}

fn print(list: &Value, one_line: bool) -> io::Result<()> {
    let mut out = stdout();
    if one_line {
        serde_json::to_writer(&mut out, list)?;
    } else {
        serde_json::to_writer_pretty(&mut out, list)?;
    }
    writeln!(out)
}
