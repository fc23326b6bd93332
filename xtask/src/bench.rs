//! `cargo xtask bench`: measures against a reference.
//!
//! A bench is a program in `gateway/benches`, or `tests/benches/gate.rs`, that prints one JSON line per measurement; this
//! verb runs them and works out what the numbers mean. A goal that is missed is news and no failure: the numbers
//! depend on the machine and on what else it does. [`detectors`] alone measures no cost.

use std::{fs, io::ErrorKind, process::Command};

use anyhow::{Context, Result, bail, ensure};

use self::verdict::{Measurement, Verdict};
use crate::{
    command::{capture, cargo, is_root},
    progress,
    tools::{
        self, Cache,
        programs::{self, NFT},
    },
    workspace,
};

mod detectors;
mod gate;
mod table;
mod verdict;

/// The bench that compares the gateway with other proxies.
const DATA_PATH: &str = "data_path";
/// The bench that loads the kernel programs.
const CONNECT: &str = "connect";
/// The bench that counts what is found in manifests.
const DETECTORS: &str = "detectors";
/// The bench over the tests' control plane, which is not the gateway's own.
const GATE: &str = "gate";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One bench; all of them where absent.
    name: Option<String>,
    /// Only these topics of a bench that has topics; of `detectors`, projects or directories of manifests.
    topics: Vec<String>,
    /// Print JSON lines in place of a table.
    #[arg(long)]
    json: bool,
    /// Rounds of each side, where sides take turns; fewer are quicker and say less.
    #[arg(long)]
    rounds: Option<usize>,
}

/// What a bench printed.
#[derive(Default)]
struct Findings {
    verdicts: Vec<Verdict>,
    notes: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.name.as_deref() == Some(DETECTORS) {
        return detectors::run(&args.topics);
    }
    let mut findings = Findings::default();
    let mut benches = chosen(args.name.as_deref())?;
    // It is about no cost, and brings twenty repositories.
    benches.retain(|bench| bench != DETECTORS);
    if args.name.is_none() && !is_root() {
        benches.retain(|bench| bench != CONNECT);
        eprintln!("  {CONNECT} is left out: it takes root");
    }
    for bench in &benches {
        findings.add(bench, &measure(bench, &args)?)?;
    }
    if findings.verdicts.is_empty() {
        bail!("nothing was measured");
    }
    findings.notes.iter().for_each(|note| eprintln!("{note}"));
    table::print(&findings.verdicts, args.json)
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
        .chain([GATE.to_owned()])
        .collect();
    names.sort();
    Ok(names)
}

fn measure(bench: &str, args: &Args) -> Result<String> {
    if bench == GATE {
        return gate::measure(args);
    }
    let mut command = cargo();
    command.args([
        "bench",
        "--quiet",
        "--package",
        "sallyport",
        "--bench",
        bench,
        "--",
    ]);
    command.args(&args.topics);
    set_rounds(&mut command, args);
    match bench {
        DATA_PATH => bring_others(&mut command)?,
        CONNECT => bring_programs(&mut command)?,
        _ => {}
    }
    progress::step(format!("bench {bench}"), || capture(&mut command))
}

fn set_rounds(command: &mut Command, args: &Args) {
    if let Some(rounds) = args.rounds {
        command.env("SALLYPORT_BENCH_ROUNDS", rounds.to_string());
    }
}

/// The proxies that the gateway is compared with. nginx may be absent: no goal depends on it.
fn bring_others(command: &mut Command) -> Result<()> {
    let cache = Cache::open()?;
    command.env("SALLYPORT_BENCH_ENVOY", tools::python::envoy(&cache)?);
    let found =
        tools::nginx::binary(&cache).map(|nginx| command.env("SALLYPORT_BENCH_NGINX", nginx));
    if let Err(error) = found {
        eprintln!("  nginx is left out: {error:#}");
    }
    Ok(())
}

/// The kernel programs, for the gateway's build to embed, and what they are compared with.
fn bring_programs(command: &mut Command) -> Result<()> {
    ensure!(
        cfg!(target_os = "linux") && is_root(),
        "bench {CONNECT} takes root on Linux, as it loads kernel programs and makes namespaces and cgroups; \
         run `sudo -E cargo xtask bench {CONNECT}`"
    );
    tools::ebpf::ensure(&Cache::open()?)?;
    programs::ensure(&[NFT])?;
    command.env("SALLYPORT_BENCH_NFT", NFT.path()?);
    Ok(())
}

impl Findings {
    fn add(&mut self, bench: &str, output: &str) -> Result<()> {
        for line in output.lines() {
            if line.starts_with('{') {
                let measurement: Measurement = serde_json::from_str(line)
                    .with_context(|| format!("bench {bench} printed {line}"))?;
                self.verdicts.push(measurement.into());
            } else if line.starts_with("note: ") && !self.notes.iter().any(|note| note == line) {
                self.notes.push(line.to_owned());
            }
        }
        Ok(())
    }
}
