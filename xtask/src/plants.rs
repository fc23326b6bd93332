//! `cargo xtask plants`: builds with a planted bug and expects its test to fail.
//!
//! A test that would not notice the bug it is there for proves nothing. `SALLYPORT_BUG=<name>` makes
//! `gateway/build.rs` set `cfg(sallyport_bug = "<name>")`, so only our own crate is built again.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};

use crate::{
    command::{capture, command},
    progress::{seconds, step},
    tools::{Cache, cargo_tools},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One bug; today's where absent.
    name: Option<String>,
    /// Every bug.
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// A bug, and the tests that are there to find it.
struct Plant {
    name: &'static str,
    /// What the names of the tests begin with.
    tests: &'static str,
}

const PLANTS: &[Plant] = &[
    Plant {
        name: "ack-before-sync",
        tests: "audit::wal::",
    },
    Plant {
        name: "masked-field-skipped",
        tests: "mask::",
    },
    Plant {
        name: "generation-missing-from-checksum",
        tests: "audit::wal::",
    },
    Plant {
        name: "chunk-boundary",
        tests: "mask::",
    },
    Plant {
        name: "retry-after-failed-sync",
        tests: "audit::wal::",
    },
    Plant {
        name: "no-directory-sync",
        tests: "audit::wal::",
    },
];

/// How many bugs a day's `ci` tries; each costs one more build of the gateway's tests.
const PER_DAY: usize = 2;

/// A test that looks for a bug longer than this does not find it in `ci` either.
const BUDGET: Duration = Duration::from_secs(120);

pub(crate) fn run(args: Args) -> Result<()> {
    match args.name {
        Some(name) => {
            let Some(plant) = PLANTS.iter().find(|plant| plant.name == name) else {
                let names: Vec<_> = PLANTS.iter().map(|plant| plant.name).collect();
                bail!("no bug {name}; there are: {}", names.join(", "));
            };
            find(&[plant])
        }
        None if args.all => find(&PLANTS.iter().collect::<Vec<_>>()),
        None => todays(),
    }
}

/// Tries a few bugs, other ones every day.
pub(crate) fn todays() -> Result<()> {
    let day = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() / 86_400;
    let first = day as usize * PER_DAY;
    let today: Vec<_> = (first..first + PER_DAY)
        .map(|index| &PLANTS[index % PLANTS.len()])
        .collect();
    find(&today)
}

fn find(plants: &[&Plant]) -> Result<()> {
    let nextest = cargo_tools::nextest(&Cache::open()?)?;
    let mut missed = Vec::new();
    for plant in plants {
        match attempt(&nextest, plant)? {
            Some(time) => println!("{:34} found in {}", plant.name, seconds(time)),
            None => missed.push(plant.name),
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    bail!("planted and not found: {}", missed.join(", "))
}

/// How long the tests took to find the bug; `None` if they passed with it in place or ran out of time.
fn attempt(nextest: &Path, plant: &Plant) -> Result<Option<Duration>> {
    let nextest = |args: &[&str]| {
        let mut run = command(nextest);
        run.args(["nextest", "run", "--lib"]).args(args);
        run.env("SALLYPORT_BUG", plant.name)
            .env("SALLYPORT_TEST_TIER", "ci");
        run
    };
    step(format!("building with the bug {}", plant.name), || {
        capture(&mut nextest(&["--no-run"]))
    })?;
    let started = Instant::now();
    let filter = format!("binary_id(sallyport) & test(/^{}/)", plant.tests);
    let output = nextest(&["--no-tests", "fail", "--fail-fast", "-E", &filter]).output()?;
    let time = started.elapsed();
    match output.status.code() {
        Some(TESTS_FAILED) => Ok((time < BUDGET).then_some(time)),
        Some(0) => Ok(None),
        _ => bail!(
            "with `{}`: {}",
            plant.name,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// nextest's exit code where tests ran and some failed.
const TESTS_FAILED: i32 = 100;
