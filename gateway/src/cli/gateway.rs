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
    if args.check {
        let summary = app::check(&args.config)?;
        println!("{summary}");
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::start(args.log_format);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(app::run(&args.config))?;
    Ok(ExitCode::SUCCESS)
}
