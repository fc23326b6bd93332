use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {}

pub(super) fn run(_: Command) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
