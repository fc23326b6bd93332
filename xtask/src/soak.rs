//! `cargo xtask soak`: the same tests at full counts, with a dated result, and then the fuzz targets.

use anyhow::Result;
use serde::Serialize;

use crate::{
    command::{capture, command, write},
    fuzz,
    test::{self, Report, Tier},
    workspace,
};

/// How many seconds each fuzz target runs.
const FUZZED: u32 = 300;

#[derive(Serialize)]
struct Dated<'a> {
    started: &'a str,
    commit: &'a str,
    theme: Option<&'a str>,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) use test::Args;

pub(crate) fn run(args: Args) -> Result<()> {
    let started = capture(command("date").args(["-u", "+%Y-%m-%dT%H%M%SZ"]))?;
    let commit = capture(command("git").args(["describe", "--always", "--dirty"]))?;
    let theme = args.theme.as_deref();
    let report = test::run_tier(&args, Tier::Soak)?;
    let result = Dated {
        started: started.trim(),
        commit: commit.trim(),
        theme,
        report: &report,
    };
    let name = format!("{}-{}.json", result.started, theme.unwrap_or("all"));
    let path = workspace::target().join("soak").join(name);
    write(&path, &serde_json::to_string_pretty(&result)?)?;
    println!("{}", path.display());
    let fuzzed = match theme {
        None => fuzz::run(fuzz::Args::all(FUZZED)),
        Some(_) => Ok(()),
    };
    test::finish(&report).and(fuzzed)
}
