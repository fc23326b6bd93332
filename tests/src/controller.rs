//! The real controller, with a configuration and a directory of its own.

use std::{
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Cluster, Output, clock, environment, process,
    server::{Launch, Server},
    wait::eventually,
};

const LIMIT: Duration = Duration::from_secs(60);

/// The objects of a cluster that controllers write to: one test at a time. Dropping it lets the next one in.
pub struct Objects {
    _turn: Flock<fs::File>,
}

impl Objects {
    /// Defines the kinds as this version has them.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(cluster.kubeconfig.with_extension("controllers"))?;
        let turn = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        cluster.serve_objects()?;
        Ok(Self { _turn: turn })
    }
}

/// A running controller; dropping it ends the process.
pub struct Controller {
    directory: TempDir,
    server: Server,
}

impl Controller {
    /// With `config` over what is usual, and files beside it. JSON is YAML.
    pub fn start(cluster: &Cluster, config: &Value, files: &[(&str, &str)]) -> Result<Self> {
        Self::start_with_clock(cluster, config, files, None)
    }

    /// With a clock that is so many seconds ahead of the others, or behind.
    pub fn start_with_clock(
        cluster: &Cluster,
        config: &Value,
        files: &[(&str, &str)],
        clock: Option<i64>,
    ) -> Result<Self> {
        let binary = environment::file("SALLYPORT_TEST_GATEWAY")?;
        let directory = write(cluster, config, files)?;
        let listeners: &[_] = match (
            config["decisions"].is_object(),
            config["evidence"].is_object(),
        ) {
            (true, true) => &["admin", "decisions", "evidence"],
            (true, false) => &["admin", "decisions"],
            (false, true) => &["admin", "evidence"],
            (false, false) => &["admin"],
        };
        let server = Server::start(Launch {
            binary,
            directory: directory.path().to_owned(),
            subcommand: "controller",
            config: "controller.yaml",
            listeners,
            variables: clock::of(directory.path(), clock)?,
        })?;
        server.wait_until_ready()?;
        Ok(Self { directory, server })
    }

    /// Of a controller that was started with a clock.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        clock::set(self.directory.path(), seconds)
    }

    /// What `sallyport controller --check` says.
    pub fn check(cluster: &Cluster, config: &Value, files: &[(&str, &str)]) -> Result<Output> {
        let directory = write(cluster, config, files)?;
        let mut check = std::process::Command::new(environment::file("SALLYPORT_TEST_GATEWAY")?);
        check
            .args(["controller", "--check", "--config", "controller.yaml"])
            .current_dir(directory.path());
        process::run(&mut check, &[])
    }

    /// A file beside the configuration.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Where callbacks come in.
    pub fn decisions(&self) -> SocketAddr {
        self.server.address("decisions")
    }

    /// Where people read the evidence.
    pub fn evidence(&self) -> SocketAddr {
        self.server.address("evidence")
    }

    pub fn leads(&self) -> Result<bool> {
        let metrics = self.admin("/metrics")?;
        Ok(metrics
            .lines()
            .any(|line| line == "sallyport_controller_leader 1"))
    }

    pub fn wait_until_it_leads(&self) -> Result<()> {
        eventually("leadership", LIMIT, || Ok(self.leads()?.then_some(())))
            .with_context(|| self.log())
    }
}

impl Deref for Controller {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Controller {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

fn write(cluster: &Cluster, config: &Value, files: &[(&str, &str)]) -> Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("sallyport-controller-")
        .tempdir()?;
    let mut whole = json!({
        "kubeconfig": cluster.kubeconfig,
        "admin": {"listen": "127.0.0.1:0"},
    });
    for (field, value) in config.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    fs::write(directory.path().join("controller.yaml"), whole.to_string())?;
    for (name, text) in files {
        fs::write(directory.path().join(name), text)?;
    }
    Ok(directory)
}
