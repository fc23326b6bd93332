//! `sallyport gateway` and `sallyport controller`: processes that run until they are told to end.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::{
    app,
    cli::output::say,
    telemetry::{self, LogFormat},
};

#[derive(clap::Args, Debug)]
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

pub(super) const GATEWAY_HELP: &str = "\
SIGTERM or SIGINT: calls in flight may end (limits.drain, 25s unless configured), then the record is \
completed. SIGHUP, or a changed file: policies, agents, record levels and the certificate are read again; \
where one is wrong the log says so and the last good one stays. RUST_LOG selects log lines; the default is \
info,hyper=error.";

pub(super) const CONTROLLER_HELP: &str = "\
Run as many replicas as you like: the one that holds the Lease sallyport-controller writes, the others follow. \
SIGTERM or SIGINT: votes that came in are written, and another replica leads at once; after a crash, 15 s later. \
Files with secrets are read each time they are needed. RUST_LOG selects log lines; the default is info,hyper=error.";

pub(super) fn gateway(args: &Args) -> anyhow::Result<ExitCode> {
    args.serve(app::check, app::run)
}

pub(super) fn controller(args: &Args) -> anyhow::Result<ExitCode> {
    args.serve(app::check_controller, app::run_controller)
}

impl Args {
    fn serve(
        &self,
        check: impl AsyncFnOnce(&Path) -> anyhow::Result<String>,
        run: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
        if self.check {
            say!("{}", runtime.block_on(check(&self.config))?);
            return Ok(ExitCode::SUCCESS);
        }
        let _logs = telemetry::start(self.log_format);
        runtime.block_on(run(&self.config))?;
        Ok(ExitCode::SUCCESS)
    }
}
