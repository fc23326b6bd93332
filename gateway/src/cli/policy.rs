//! `sallyport policy`: read, try and explain policies before they are in force.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::policy::PolicySet;

mod check;
mod explain;
mod simulate;
mod suggest;
mod test;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Check that policies can be in force, and say what is wrong and where.
    Check(check::Args),
    /// Judge the cases that are written down beside policies.
    Test(test::Args),
    /// Say what becomes of one call, and of every rule why it matches or does not.
    Explain(explain::Args),
    /// Judge recorded calls by other policies, and show what would change.
    Simulate(Box<simulate::Args>),
    /// Make a policy that allows what an agent did, and little else.
    Suggest(Box<suggest::Args>),
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Suggest(args) => suggest::run(*args),
    }
}

/// A directory of policies, or one file.
fn read(path: &Path) -> anyhow::Result<PolicySet> {
    if path.is_file() {
        return Ok(PolicySet::read(&[path.to_owned()])?);
    }
    Ok(PolicySet::load(path)?)
}

/// The files with cases of a directory, in order of name, or the one file.
fn case_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path)
        .with_context(|| format!("cannot read the directory {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file
            .to_string_lossy()
            .ends_with(crate::policy::cases::SUFFIX)
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
