//! How soon a decision counts: two gateways, a controller before them, a real control plane. Prints a JSON line per
//! measurement, as the benches of the gateway do; the reference is the goal.
//!
//! `cargo xtask bench gate` runs it.

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};

use self::{row::Measured, site::Site};

#[path = "gate/approval.rs"]
mod approval;
#[path = "gate/row.rs"]
mod row;
#[path = "gate/site.rs"]
mod site;
#[path = "gate/stop.rs"]
mod stop;

const ROUNDS: usize = 20;

/// A stop counts on every gateway.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
/// A held call is answered on any gateway.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let topics = topics()?;
    let wanted = |topic: &str| topics.is_empty() || topics.iter().any(|each| each == topic);
    let (site, rounds) = (Site::new()?, rounds()?);
    if wanted("stop") {
        stop::wait_until_applied(&site)?;
        let mut measured = Measured::new(STOPPED_WITHIN);
        for _ in 0..rounds {
            stop::round(&site, &mut measured)?;
        }
        measured.print();
    }
    if wanted("approval") {
        let mut measured = Measured::new(RELEASED_WITHIN);
        for round in 0..rounds {
            approval::round(&site, round, &mut measured)?;
        }
        measured.print();
    }
    Ok(())
}

fn topics() -> Result<Vec<String>> {
    // Cargo's own.
    let topics: Vec<_> = env::args()
        .skip(1)
        .filter(|topic| topic != "--bench")
        .collect();
    for topic in &topics {
        let known = ["stop", "approval"].contains(&topic.as_str());
        ensure!(known, "no topic {topic}; there are: stop, approval");
    }
    Ok(topics)
}

fn rounds() -> Result<usize> {
    match env::var("SALLYPORT_BENCH_ROUNDS") {
        Ok(rounds) => rounds.parse().context("SALLYPORT_BENCH_ROUNDS"),
        Err(_) => Ok(ROUNDS),
    }
}
