use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::{
    app,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The configuration, one YAML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and everything it names, and end: nothing is served or written.
    #[arg(long)]
    check: bool,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    if args.check {
        println!("{}", runtime.block_on(app::check(&args.config))?);
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::start(args.log_format);
    runtime.block_on(app::run(&args.config))?;
    Ok(ExitCode::SUCCESS)
}
