use std::{path::Path, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::{Follower, Output, environment, process};

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
