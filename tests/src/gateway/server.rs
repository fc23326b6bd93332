//! One process of the gateway, and the log of all of them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::LIMIT;
use crate::wait::eventually;

pub(super) struct Server {
    process: Child,
    pub(super) explicit: SocketAddr,
    admin: SocketAddr,
    pub(super) log: Log,
}

impl Server {
    pub(super) fn start(binary: &Path, directory: &Path) -> Result<Self> {
        Self::start_with(binary, directory, Log::default())
    }

    fn start_with(binary: &Path, directory: &Path, log: Log) -> Result<Self> {
        let seen = log.text().len();
        let mut process = Command::new(binary)
            .args([
                "gateway",
                "--config",
                "gateway.yaml",
                "--log-format",
                "json",
            ])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        log.follow(process.stderr.take().context("stderr is piped")?);
        // From here on a failure ends the process: `Server` kills it when dropped.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            process,
            explicit: nowhere,
            admin: nowhere,
            log,
        };
        server.explicit = server.listener("explicit", seen)?;
        server.admin = server.listener("admin", seen)?;
        server.wait_until_ready()?;
        Ok(server)
    }

    pub(super) fn restart(&mut self, binary: &Path, directory: &Path) -> Result<()> {
        ensure!(self.ended()?.is_some(), "the gateway still runs");
        *self = Self::start_with(binary, directory, self.log.clone())?;
        Ok(())
    }

    /// The address that a listener logged after the first `seen` bytes of the log.
    fn listener(&mut self, name: &str, seen: usize) -> Result<SocketAddr> {
        let what = format!("the gateway's line about its {name} listener");
        let address = eventually(&what, LIMIT, || {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("the gateway ended with {status}");
            }
            let log = self.log.text();
            let mut lines = log[seen..]
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| {
                line["fields"]["message"] == "listening" && line["fields"]["listener"] == name
            });
            line.map(|line| {
                line["fields"]["addr"]
                    .as_str()
                    .context("no address")?
                    .parse()
                    .context("not an address")
            })
            .transpose()
        });
        address.with_context(|| format!("the gateway's log:\n{}", self.log.text()))
    }

    fn wait_until_ready(&self) -> Result<()> {
        let ready = eventually("the gateway's /readyz", LIMIT, || {
            Ok(self.admin("/readyz").ok())
        });
        ready
            .map(drop)
            .with_context(|| format!("the gateway's log:\n{}", self.log.text()))
    }

    pub(super) fn admin(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(self.admin)?;
        socket.set_read_timeout(Some(LIMIT))?;
        write!(
            socket,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.admin
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
        Ok(body.to_owned())
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.process.id().try_into()?);
        Ok(kill(pid, signal)?)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: u64 = kibibytes.context("no VmRSS")?.parse()?;
        Ok(kibibytes << 10)
    }

    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("the gateway may still run: {error:#}");
        }
        if thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log.text());
        }
    }
}

/// Lines as they came, readable while they come.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<(Mutex<String>, Condvar)>);

impl Log {
    fn follow(&self, stderr: ChildStderr) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *log.lock() += &(line + "\n");
                log.0.1.notify_all();
            }
        });
    }

    pub(super) fn text(&self) -> String {
        self.lock().clone()
    }

    pub(super) fn wait(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let find = |text: &str| {
            text.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| wanted(line))
        };
        let condition = |text: &mut String| find(text).is_none();
        let waited = self.0.1.wait_timeout_while(self.lock(), limit, condition);
        let (text, _) = waited.unwrap_or_else(PoisonError::into_inner);
        find(&text)
            .with_context(|| format!("{what}: not logged within {limit:?}:\n{text}", text = *text))
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
