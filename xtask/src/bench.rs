//! `cargo xtask bench`: measures against a reference.
//!
//! A bench is a program in `gateway/benches` that prints one JSON line per measurement; this verb runs
//! them and works out what the numbers mean. A goal that is missed is news and no failure: the numbers
//! depend on the machine and on what else it does.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    command::{capture, cargo},
    progress, workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One bench; all of them where absent.
    name: Option<String>,
    /// Print JSON lines in place of a table.
    #[arg(long)]
    json: bool,
}

/// What a bench prints, in a unit where more is better.
#[derive(Debug, Deserialize)]
struct Measurement {
    name: String,
    ours: f64,
    reference: f64,
    /// The ratio of ours to the reference that is good enough; none where that is not decided.
    goal: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    ours: f64,
    reference: f64,
    ratio: f64,
    goal: Option<f64>,
    ok: Option<bool>,
}

impl From<Measurement> for Verdict {
    fn from(
        Measurement {
            name,
            ours,
            reference,
            goal,
        }: Measurement,
    ) -> Self {
        let ratio = ours / reference;
        Self {
            name,
            ours,
            reference,
            ratio,
            goal,
            ok: goal.map(|goal| ratio >= goal),
        }
    }
}

pub(crate) fn run(args: Args) -> Result<()> {
    let benches = chosen(args.name.as_deref())?;
    let mut verdicts = Vec::new();
    for bench in &benches {
        verdicts.extend(measure(bench)?);
    }
    if verdicts.is_empty() {
        bail!("nothing was measured");
    }
    print(&verdicts, args.json)
}

fn chosen(name: Option<&str>) -> Result<Vec<String>> {
    let benches = existing()?;
    let list = if benches.is_empty() {
        "none".to_owned()
    } else {
        benches.join(", ")
    };
    match name {
        _ if benches.is_empty() => bail!("there are no benches yet in gateway/benches"),
        Some(name) if !benches.iter().any(|bench| bench == name) => {
            bail!("no bench {name}; there are: {list}")
        }
        Some(name) => Ok(vec![name.to_owned()]),
        None => Ok(benches),
    }
}

fn existing() -> Result<Vec<String>> {
    let directory = workspace::root().join("gateway/benches");
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    let rust = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<_> = rust
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn measure(bench: &str) -> Result<Vec<Verdict>> {
    let output = progress::step(format!("bench {bench}"), || {
        capture(cargo().args([
            "bench",
            "--quiet",
            "--package",
            "sallyport",
            "--bench",
            bench,
        ]))
    })?;
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let measurement: Measurement = serde_json::from_str(line)
                .with_context(|| format!("bench {bench} printed {line}"))?;
            Ok(measurement.into())
        })
        .collect()
}

fn print(verdicts: &[Verdict], json: bool) -> Result<()> {
    if !json {
        println!(
            "{:32} {:>12} {:>12} {:>7} {:>7}",
            "name", "ours", "reference", "ratio", "goal"
        );
    }
    for verdict in verdicts {
        if json {
            println!("{}", serde_json::to_string(verdict)?);
            continue;
        }
        let Verdict {
            name,
            ours,
            reference,
            ratio,
            goal,
            ok,
        } = verdict;
        let goal = goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
        let mark = if *ok == Some(false) { "  missed" } else { "" };
        println!("{name:32} {ours:>12.1} {reference:>12.1} {ratio:>7.2} {goal:>7}{mark}");
    }
    Ok(())
}
