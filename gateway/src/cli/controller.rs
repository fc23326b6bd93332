use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::{
    app,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The configuration, one YAML file; paths in it are relative to its directory.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and every file it names, and end: nothing is served, written or asked for.
    #[arg(long)]
    check: bool,
    /// The form of the log on stderr.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

const AFTER_HELP: &str = "\
Run as many replicas as you like: the one that holds the Lease sallyport-controller writes, the others follow. \
SIGTERM or SIGINT: votes that came in are written, and another replica leads at once; after a crash, 15 s later. \
Files with secrets are read each time they are needed. RUST_LOG selects log lines; the default is info,hyper=error.";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    if args.check {
        println!("{}", runtime.block_on(app::check_controller(&args.config))?);
        return Ok(ExitCode::SUCCESS);
    }
    let _logs = telemetry::start(args.log_format);
    runtime.block_on(app::run_controller(&args.config))?;
    Ok(ExitCode::SUCCESS)
}
