//! `sallyport audit`: the record, read by a person.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{evidence::Connection, output::note, table, text};
use crate::{
    audit::{
        query::{Report, Sources, is_contained},
        store::Archive,
    },
    config::{self, Config},
};

pub(super) use self::{
    calls::Calls,
    printed::{object, print_wide},
};

mod calls;
mod list;
mod printed;
mod show;
mod tail;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// List recorded calls, the latest at the end: who did what, and what came of it.
    List(Box<list::Args>),
    /// Show one call in full, with the masked request and response, and check its digests.
    Show(show::Args),
    /// Follow calls of all gateways as they happen.
    Tail(tail::Args),
}

/// Exit code 0: everything was read. 1: something could not be read, was not found, or is not what was
/// recorded; what could be read is shown all the same.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    keep_contained_panics_quiet();
    match command {
        Command::List(args) => list::run(*args),
        Command::Show(args) => show::run(args),
        Command::Tail(args) => tail::run(&args),
    }
}

/// The record itself, or the controller that reads it out.
#[derive(clap::Args, Debug)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("place").args(["config", "store", "server"])))]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// The record as files.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(super) struct Files {
    /// The gateway's configuration; the store and the write-ahead log that it names are read.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of a store, such as a copy of one, or s3://BUCKET/PREFIX with region, credentials and
    /// AWS_ENDPOINT_URL from the environment.
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
    /// The directory of a write-ahead log, for calls that are not in the store yet.
    #[arg(
        long,
        value_name = "DIR",
        requires = "store",
        conflicts_with = "config"
    )]
    wal: Option<PathBuf>,
}

impl Place {
    /// Recorded calls with their bodies.
    pub(super) fn calls(self) -> anyhow::Result<Calls> {
        Ok(match self.files.are_named() {
            true => Calls::Files(self.files.sources()?),
            false => Calls::Controller(self.connection),
        })
    }
}

impl Files {
    pub(super) fn are_named(&self) -> bool {
        self.config.is_some() || self.store.is_some()
    }

    pub(super) fn sources(self) -> anyhow::Result<Sources> {
        if let Some(path) = self.config {
            let recording = Config::load(&path)?.recording;
            return Ok(Sources {
                store: Archive::open(&recording.store)?,
                wal: Some(recording.wal.directory),
                deadline: None,
            });
        }
        let store = self
            .store
            .context("name --config FILE or --store DIR|URL")?;
        let store = match store.strip_prefix("s3://") {
            Some(place) => config::Store::S3(bucket(place)?),
            None => config::Store::Directory(store.into()),
        };
        if let config::Store::Directory(directory) = &store {
            ensure_directory("--store", directory)?;
        }
        if let Some(directory) = &self.wal {
            ensure_directory("--wal", directory)?;
        }
        Ok(Sources {
            store: Archive::open(&store)?,
            wal: self.wal,
            deadline: None,
        })
    }
}

fn ensure_directory(flag: &str, directory: &Path) -> anyhow::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    bail!("{flag}: there is no directory {}", directory.display())
}

/// What follows `s3://`. Who reads says where with the variable that the AWS command line knows.
fn bucket(place: &str) -> anyhow::Result<config::S3> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let endpoint = std::env::var("AWS_ENDPOINT_URL").ok();
    config::S3::at(bucket, prefix.trim_end_matches('/'), endpoint)
        .map_err(|problem| anyhow::anyhow!("--store: {problem}"))
}

/// A time that a flag gives.
pub(super) fn flag_time(flag: &str, text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    time(text, now).with_context(|| flag.to_owned())
}

/// `10m` and `7d` are that long ago; else an RFC 3339 time.
pub(super) fn time(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = days(text).or_else(|| text.parse::<SignedDuration>().ok());
    ago.and_then(|ago| now.checked_sub(ago.abs()).ok())
        .with_context(|| {
            format!("{text:?} is not a time: write 10m, 2h, 7d, or 2026-01-31T08:00:00Z")
        })
}

fn days(text: &str) -> Option<SignedDuration> {
    let days: u32 = text.strip_suffix('d')?.parse().ok()?;
    Some(SignedDuration::from_hours(i64::from(days) * 24))
}

/// Names on stderr what could not be read, and says whether there was anything.
pub(super) fn complain(report: &Report) -> bool {
    complain_each(&report.problems)
}

/// The same of what the controller could not read.
pub(super) fn complain_of(answer: &Value) -> bool {
    let problems = answer["problems"].as_array().map_or(&[][..], Vec::as_slice);
    complain_each(problems.iter().filter_map(Value::as_str))
}

fn complain_each(problems: impl IntoIterator<Item: ToString>) -> bool {
    let mut any = false;
    for problem in problems {
        note!(
            "error: cannot read all of {}",
            text::printable(&problem.to_string())
        );
        any = true;
    }
    any
}

pub(super) fn code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// They are reported as a file that cannot be read; a backtrace would look like a fault of ours.
pub(super) fn keep_contained_panics_quiet() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_contained() {
            others(panic);
        }
    }));
}

#[cfg(test)]
mod tests;
