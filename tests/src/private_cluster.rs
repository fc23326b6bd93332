//! A control plane of one test, which may do to it what others must not see.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cluster, environment, wait::eventually};

/// A start or a restart on two busy cores; the program itself gives up before that and says why.
const LIMIT: Duration = Duration::from_secs(150);
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const RESTART: &str = "restart kube-apiserver";

/// Some 0.7 GB and ten seconds; dropping it ends it. The OIDC provider is not of its CA: take `Oidc` from
/// the shared cluster.
pub struct PrivateCluster {
    pub cluster: Cluster,
    process: Process,
    _directory: TempDir,
}

impl PrivateCluster {
    pub(crate) fn start() -> Result<Self> {
        let binary = environment::file("SALLYPORT_TEST_CLUSTER_BINARY").context(
            "a control plane of its own is the built one: run without SALLYPORT_TEST_KUBECONFIG and KUBEBUILDER_ASSETS",
        )?;
        let directory = tempfile::Builder::new()
            .prefix("sallyport-cluster-")
            .tempdir()?;
        let process = Process::start(&binary, directory.path())?;
        let cluster = serde_json::from_value(process.answer()?)?;
        Ok(Self {
            cluster,
            process,
            _directory: directory,
        })
    }

    /// Ends the API server and every connection to it, and starts it again at the same address with the
    /// same certificates; returns when it is ready.
    pub fn restart_api_server(&mut self) -> Result<()> {
        self.process.order(RESTART)
    }
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    fn start(binary: &Path, directory: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["up", "--dir"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.context("stdout is piped")?;
        let (sender, lines) = sync_channel(8);
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok());
        });
        Ok(Self {
            child,
            stdin,
            lines,
        })
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("it is being ended")?;
        writeln!(stdin, "{order}")?;
        let answer = self.answer()?;
        ensure!(answer == json!({"done": order}), "{order}: {answer}");
        Ok(())
    }

    fn answer(&self) -> Result<Value> {
        let line = self
            .lines
            .recv_timeout(LIMIT)
            .context("the control plane ended or hangs; its last words are above")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Its components end with it, so it is asked before it is killed.
    fn end(&mut self) -> Result<()> {
        drop(self.stdin.take());
        let id = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(id), Signal::SIGTERM)?;
        eventually("the end of a control plane", ENDS_WITHIN, || {
            Ok(self.child.try_wait()?)
        })
        .map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}: killing it");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
