//! `cargo xtask fuzz`: runs the fuzz targets of `tests/fuzz`, each for a while.
//!
//! What was found interesting stays in `target/fuzz/corpus`, so that each run begins where the one before ended.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    codegen,
    command::{capture, cargo, ends_with_us, last_lines, line, write},
    progress, workspace,
};

/// An input that takes longer than this many seconds, or more memory than this many MB, is a finding.
const SLOW: u32 = 20;
const LARGE: u32 = 2048;

/// The target that compares with another reader of protobuf, and where that finds the messages.
const REFERENCE: &str = "protobuf_reference";
const DESCRIPTORS: &str = "SALLYPORT_FUZZ_DESCRIPTORS";

/// Files that are inputs of a target as they are, or behind a byte of theirs.
const SEEDS: [(&str, &str); 5] = [
    ("config_yaml", "deploy/quickstart"),
    ("content", "deploy/install"),
    ("content", "deploy/quickstart"),
    ("policy_yaml", "deploy/policies"),
    ("policy_yaml", "deploy/quickstart"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets of tests/fuzz; all of them where absent.
    targets: Vec<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

impl Args {
    /// All targets.
    pub(crate) fn all(seconds: u32) -> Self {
        Self {
            targets: Vec::new(),
            seconds,
        }
    }
}

pub(crate) fn run(args: Args) -> Result<()> {
    let targets = chosen(&args.targets)?;
    if targets.iter().any(|target| target == REFERENCE) {
        progress::step("descriptors of Kubernetes' messages", || {
            write(&descriptors(), codegen::descriptors()?)
        })?;
    }
    progress::step("building the fuzz targets", || build(&targets))?;
    let mut findings = Vec::new();
    for target in &targets {
        match fuzz(target, args.seconds) {
            Ok(last) => println!("{target}: {last}"),
            Err(finding) => {
                eprintln!("{finding:#}");
                findings.push(target.as_str());
            }
        }
    }
    ensure!(
        findings.is_empty(),
        "these targets have findings: {}",
        findings.join(", ")
    );
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<String>> {
    let all = existing()?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}; there are: {}", all.join(", "));
    }
    Ok(if names.is_empty() {
        all
    } else {
        names.to_vec()
    })
}

fn existing() -> Result<Vec<String>> {
    let directory = sources().join("fuzz_targets");
    let entries =
        fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // Beside a target may be a directory of its parts.
        if let (Some(name), Some("rs")) =
            (path.file_stem(), path.extension().and_then(OsStr::to_str))
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build(targets: &[String]) -> Result<()> {
    pin_versions()?;
    let mut build = cargo();
    build
        .current_dir(sources())
        .env("CARGO_TARGET_DIR", workspace::target())
        .env("RUSTC_WRAPPER", sources().join("rustc.sh"))
        .args(["build", "--quiet"]);
    for target in targets {
        build.args(["--bin", target]);
    }
    capture(&mut build).map(drop)
}

/// The gateway is fuzzed with the versions that it is built with. What was added to them is kept while they are the
/// same, so that a second build needs no registry.
fn pin_versions() -> Result<()> {
    let (ours, theirs) = (
        workspace::root().join("Cargo.lock"),
        sources().join("Cargo.lock"),
    );
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let is_new =
        written(&theirs).is_ok_and(|theirs| written(&ours).is_ok_and(|ours| ours <= theirs));
    if !is_new {
        fs::copy(&ours, &theirs).with_context(|| format!("cannot write {}", theirs.display()))?;
    }
    Ok(())
}

/// The last line that the fuzzer said of its progress, or what it found.
fn fuzz(target: &str, seconds: u32) -> Result<String> {
    let kept = workspace::target().join("fuzz");
    let (corpus, found) = (
        kept.join("corpus").join(target),
        kept.join("artifacts").join(target),
    );
    for directory in [&corpus, &found] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut command = ends_with_us(program(target));
    command
        .env(DESCRIPTORS, descriptors())
        .arg(&corpus)
        .args(beside(target))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-rss_limit_mb={LARGE}"));
    let what = format!("{target} for {seconds} s");
    let output = progress::step(&what, || output(&mut command))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(progress_of(&said).to_owned()),
        false => Err(finding(target, &said)),
    }
}

fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))
}

/// Words of a target's format, and files of it to begin with.
fn beside(target: &str) -> Vec<String> {
    let words = sources().join("dictionaries").join(target);
    let words = words
        .is_file()
        .then(|| format!("-dict={}", words.display()));
    let seeds = SEEDS.iter().filter(|(of, _)| *of == target);
    let seeds = seeds.map(|(_, files)| workspace::root().join(files).display().to_string());
    words.into_iter().chain(seeds).collect()
}

fn progress_of(said: &str) -> &str {
    let mut lines = said.lines().rev();
    lines
        .find(|line| line.contains("cov: "))
        .unwrap_or_default()
}

fn finding(target: &str, said: &str) -> anyhow::Error {
    let input = said
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| workspace::relative(Path::new(path)).display().to_string());
    let program = program(target);
    let program = match target {
        REFERENCE => format!(
            "{DESCRIPTORS}={} {}",
            workspace::relative(&descriptors()).display(),
            workspace::relative(&program).display()
        ),
        _ => workspace::relative(&program).display().to_string(),
    };
    let again = match input {
        Some(input) => format!("the input is {input}; run it again with `{program} {input}`"),
        None => "it left no input".to_owned(),
    };
    anyhow::anyhow!("{}\n{target} has a finding: {again}", last_lines(said))
}

fn program(target: &str) -> PathBuf {
    workspace::target().join("debug").join(target)
}

fn descriptors() -> PathBuf {
    workspace::target().join("fuzz/descriptors.bin")
}

fn sources() -> PathBuf {
    workspace::root().join("tests/fuzz")
}
