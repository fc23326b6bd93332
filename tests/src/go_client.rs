use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use crate::{Follower, Output, environment, process};

/// The client-go program of `tests/clients/go`, which says what its commands print.
pub struct GoClient {
    binary: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    variables: Vec<(String, String)>,
}

impl GoClient {
    pub fn new(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        Ok(Self {
            binary: environment::file("SALLYPORT_TEST_GO_CLIENT")?,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
            variables: Vec::new(),
        })
    }

    /// With a variable of the environment, which is empty otherwise.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        process::run(self.command().args(arguments), input)
    }

    /// What a command that succeeds prints.
    pub fn lines(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let output = self.run(arguments, &[])?.success()?;
        Ok(output
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }

    /// Starts a command with an open standard input; [`Follower::finish`] is how an informer is ended.
    pub fn follow(&self, arguments: &[&str]) -> Result<Follower> {
        Follower::start_with_input(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut client = Command::new(&self.binary);
        client.env_clear();
        client.envs(self.variables.iter().map(|(name, value)| (name, value)));
        client.arg("--kubeconfig").arg(&self.kubeconfig);
        client.args(["--namespace", &self.namespace]);
        client
    }
}
