//! The real node agent, for the node of a test control plane.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::geteuid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Cluster, Output, Settings, environment, process,
    server::{Launch, Server},
    wait::eventually,
};

const LIMIT: Duration = Duration::from_secs(30);

/// `sallyport node` with pins, a socket and a directory of its own. Dropping it takes away all that it left in
/// the kernel.
///
/// Its BPF file system is mounted for this thread and the processes that it starts, so that what is pinned
/// goes with them even if they are killed: start and restart node agents on one thread.
pub struct NodeAgent {
    server: Server,
    binary: PathBuf,
    directory: TempDir,
}

impl NodeAgent {
    /// The network of the node must be there: create a networked pod first. Returns once the node agent listens
    /// for its administrator; [`Server::wait_until_ready`] waits for the rest.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_with(cluster, |_| {})
    }

    /// With a configuration that `change` has changed.
    pub fn start_with(cluster: &Cluster, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let binary = environment::file("SALLYPORT_TEST_GATEWAY")?;
        let directory = tempfile::Builder::new()
            .prefix("sallyport-node-")
            .tempdir()?;
        mount_bpffs(&directory)?;
        let mut config = config(cluster, &directory)?;
        change(&mut config);
        fs::write(directory.path().join("node.yaml"), config.to_string())?;
        let server = Server::start(Launch {
            binary: binary.clone(),
            directory: directory.path().to_owned(),
            subcommand: "node",
            config: "node.yaml",
            listeners: &["admin"],
            variables: Vec::new(),
        })?;
        Ok(Self {
            server,
            binary,
            directory,
        })
    }

    /// Where the gateway finds it.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("node.sock")
    }

    pub fn pins(&self) -> PathBuf {
        pins(&self.directory)
    }

    /// Starts again with the same files after [`Server::kill`] or [`Server::stop`].
    pub fn start_again(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// A second node agent takes over, as in an upgrade; returns once the first has ended.
    pub fn replace(&mut self) -> Result<()> {
        let second = self.server.start_another()?;
        second.wait_until_ready()?;
        let mut first = std::mem::replace(&mut self.server, second);
        // The kubelet ends the old pod when the new one is ready.
        first.signal(Signal::SIGTERM)?;
        eventually("the end of the old node agent", LIMIT, || first.ended()).map(drop)
    }

    /// `sallyport node uninstall`.
    pub fn uninstall(&self) -> Result<Output> {
        let mut uninstall = std::process::Command::new(&self.binary);
        uninstall
            .args(["node", "uninstall", "--pins"])
            .arg(self.pins());
        process::run(&mut uninstall, &[])
    }

    fn leave_nothing(&mut self) -> Result<()> {
        self.kill()?;
        self.uninstall()?.success()?;
        // Whoever still has it open does not keep it.
        umount2(&bpffs(&self.directory), MntFlags::MNT_DETACH).context("unmounting the bpffs")
    }
}

impl Deref for NodeAgent {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for NodeAgent {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        if let Err(error) = self.leave_nothing() {
            eprintln!("something of the node agent stays until the test ends: {error:#}");
        }
    }
}

impl Settings {
    /// Also serves the pods that `agent` captures.
    pub fn with_capture(mut self, agent: &NodeAgent) -> Self {
        self.config["capture"] = json!({"socket": agent.socket()});
        self
    }
}

fn bpffs(directory: &TempDir) -> PathBuf {
    directory.path().join("bpf")
}

fn pins(directory: &TempDir) -> PathBuf {
    bpffs(directory).join("sallyport")
}

fn mount_bpffs(directory: &TempDir) -> Result<()> {
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)
        .context("a node agent takes root: run `sudo -E cargo xtask test kernel`")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("keeping mounts to ourselves")?;
    fs::create_dir(bpffs(directory))?;
    mount(
        Some("bpf"),
        &bpffs(directory),
        Some("bpf"),
        MsFlags::empty(),
        nothing,
    )
    .context("mounting a bpffs")
}

fn config(cluster: &Cluster, directory: &TempDir) -> Result<Value> {
    Ok(json!({
        "node": cluster.node.as_ref().context("this cluster has no node")?,
        "kubeconfig": cluster.kubeconfig,
        "socket": directory.path().join("node.sock"),
        "gatewayUid": geteuid().as_raw(),
        "cgroupRoot": cluster.cgroups.as_ref().context("this machine has no cgroup2")?,
        "hostNetns": cluster.node_netns.as_ref().context("this node has no network")?,
        "pins": pins(directory),
        "admin": {"listen": "127.0.0.1:0"},
        "reconcileInterval": "1s",
    }))
}
