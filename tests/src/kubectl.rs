use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cluster, Follower, Gateway, Output, Tools, process};

/// The real kubectl with a kubeconfig and a home of its own.
pub struct Kubectl {
    tools: Tools,
    namespace: String,
    home: TempDir,
    variables: Vec<(String, String)>,
}

impl Kubectl {
    /// An agent's kubectl: the server is the gateway.
    pub fn through(gateway: &Gateway, namespace: &str, token: &str) -> Result<Self> {
        Self::new(&gateway.url(), &gateway.ca_file(), namespace, token)
    }

    /// The same agent, trying to go around.
    pub fn around(cluster: &Cluster, namespace: &str, token: &str) -> Result<Self> {
        Self::new(&cluster.server, &cluster.ca_file, namespace, token)
    }

    /// The agent's rights without the gateway: the administrator impersonates its user.
    pub fn impersonating(cluster: &Cluster, namespace: &str, user: &str) -> Result<Self> {
        let kubectl = Self::at_home(namespace)?;
        let mut config = cluster.kubeconfig_as(user)?;
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        fs::write(kubectl.kubeconfig(), serde_json::to_vec(&config)?)?;
        Ok(kubectl)
    }

    /// With another program that reads a kubeconfig: an older kubectl, or helm.
    pub fn with_program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.tools.kubectl);
        self
    }

    /// With a copy of a kubeconfig that something else wrote.
    pub fn with_kubeconfig(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let kubectl = Self::at_home(namespace)?;
        fs::copy(kubeconfig, kubectl.kubeconfig())?;
        Ok(kubectl)
    }

    /// With a variable of the environment, which is empty otherwise.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn at_home(namespace: &str) -> Result<Self> {
        Ok(Self {
            tools: Tools::from_env()?,
            namespace: namespace.to_owned(),
            home: tempfile::tempdir()?,
            variables: Vec::new(),
        })
    }

    /// With a server of any address.
    pub fn new(server: &str, ca_file: &Path, namespace: &str, token: &str) -> Result<Self> {
        let kubectl = Self::at_home(namespace)?;
        let config = kubeconfig(server, ca_file, namespace, token);
        fs::write(kubectl.kubeconfig(), serde_json::to_vec(&config)?)?;
        Ok(kubectl)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        process::run(self.command().args(arguments), &[])
    }

    /// With `input` on its standard input, which then ends.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        process::run(self.command().args(arguments), input)
    }

    /// With `input` as `-f -`.
    pub fn run_with(&self, arguments: &[&str], input: &Value) -> Result<Output> {
        process::run(
            self.command().args(arguments).args(["-f", "-"]),
            input.to_string().as_bytes(),
        )
    }

    /// Runs a line that a person would type into a shell, and wants success.
    pub fn shell(&self, line: &str) -> Result<String> {
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                &format!("kubectl() {{ \"$KUBECTL\" \"$@\"; }}\n{line}"),
            ])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECTL", &self.tools.kubectl);
        process::run(&mut shell, &[])?.success()
    }

    /// Runs and wants success.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments)?.success()
    }

    /// Runs with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.ok(&[arguments, &["-o", "json"]].concat())?,
        )?)
    }

    /// Starts what goes on until it is dropped, such as a watch.
    pub fn follow(&self, arguments: &[&str]) -> Result<Follower> {
        Follower::start(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut kubectl = Command::new(&self.tools.kubectl);
        kubectl
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        kubectl
    }
}

fn kubeconfig(server: &str, ca_file: &Path, namespace: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "agent",
        "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority": ca_file}}],
        "users": [{"name": "agent", "user": {"token": token}}],
        "contexts": [{"name": "agent", "context": {"cluster": "cluster", "user": "agent", "namespace": namespace}}],
    })
}
