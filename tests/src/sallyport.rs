use std::{path::Path, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::{Follower, Output, clock, environment, process};

/// The `sallyport` binary at a person's terminal, with a home of its own.
pub struct Sallyport {
    kubeconfig: std::path::PathBuf,
    home: TempDir,
}

impl Sallyport {
    /// With the rights of whoever the kubeconfig is.
    pub fn with_kubeconfig(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            kubeconfig: kubeconfig.to_owned(),
            home: tempfile::tempdir()?,
        })
    }

    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        process::run(self.command()?.args(arguments), &[])
    }

    /// By a clock that is so many seconds ahead of the others, or behind.
    pub fn run_with_clock(&self, arguments: &[&str], seconds: i64) -> Result<Output> {
        let clock = clock::of(self.home.path(), Some(seconds))?;
        process::run(self.command()?.envs(clock).args(arguments), &[])
    }

    /// Starts what goes on until it is dropped.
    pub fn follow(&self, arguments: &[&str]) -> Result<Follower> {
        Follower::start(self.command()?.args(arguments))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(environment::file("SALLYPORT_TEST_GATEWAY")?);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(self.home.path());
        Ok(command)
    }
}
