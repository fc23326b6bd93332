//! One process of the gateway or the node agent, and the log of all of them.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
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

use crate::wait::eventually;

/// Starting on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// How a command of ours that serves is started, again and again the same.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    /// Where it starts, with its configuration.
    pub(crate) directory: PathBuf,
    pub(crate) subcommand: &'static str,
    pub(crate) config: &'static str,
    /// The names by which it logs its listeners, `admin` included.
    pub(crate) listeners: &'static [&'static str],
    /// Over this process's own.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// What a gateway, a controller and a node agent have in common. Dropping it ends the process.
pub struct Server {
    process: Child,
    launch: Launch,
    addresses: BTreeMap<&'static str, SocketAddr>,
    log: Log,
}

impl Server {
    /// Returns once it listens.
    pub(crate) fn start(launch: Launch) -> Result<Self> {
        Self::start_with(launch, Log::default())
    }

    fn start_with(launch: Launch, log: Log) -> Result<Self> {
        let seen = log.text().len();
        let mut process = Command::new(&launch.binary)
            .args([
                launch.subcommand,
                "--config",
                launch.config,
                "--log-format",
                "json",
            ])
            .current_dir(&launch.directory)
            .envs(launch.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", launch.binary.display()))?;
        log.follow(process.stderr.take().context("stderr is piped")?);
        // From here on a failure ends the process: `Server` kills it when dropped.
        let mut server = Self {
            process,
            addresses: BTreeMap::new(),
            launch,
            log,
        };
        for name in server.launch.listeners {
            let address = server.listener(name, seen)?;
            server.addresses.insert(name, address);
        }
        Ok(server)
    }

    /// Another process beside this one, with the same files.
    pub(crate) fn start_another(&self) -> Result<Self> {
        Self::start(self.launch.clone())
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        ensure!(self.ended()?.is_some(), "the {} still runs", self.name());
        *self = Self::start_with(self.launch.clone(), self.log.clone())?;
        Ok(())
    }

    fn name(&self) -> &'static str {
        self.launch.subcommand
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// The address that a listener logged after the first `seen` bytes of the log.
    fn listener(&mut self, name: &str, seen: usize) -> Result<SocketAddr> {
        let what = format!("the line of the {} about its {name} listener", self.name());
        let address = eventually(&what, LIMIT, || {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("the {} ended with {status}", self.name());
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
        address.with_context(|| format!("its log:\n{}", self.log.text()))
    }

    /// Everything it has logged, earlier processes included.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of the log that `wanted` is true of.
    pub fn wait_for_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.log.wait(what, LIMIT, wanted)
    }

    /// Until it says of itself that it is.
    pub fn wait_until_ready(&self) -> Result<()> {
        let ready = eventually(&format!("the {}'s /readyz", self.name()), LIMIT, || {
            Ok(self.admin("/readyz").ok())
        });
        ready
            .map(drop)
            .with_context(|| format!("its log:\n{}", self.log.text()))
    }

    /// The text of a path of the administration listener, such as `/metrics`.
    pub fn admin(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(self.address("admin"))?;
        socket.set_read_timeout(Some(LIMIT))?;
        write!(
            socket,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address("admin")
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
        Ok(body.to_owned())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.process.id().try_into()?);
        Ok(kill(pid, signal)?)
    }

    /// What the process has in memory.
    #[cfg(target_os = "linux")]
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: u64 = kibibytes.context("no VmRSS")?.parse()?;
        Ok(kibibytes << 10)
    }

    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// SIGTERM, and wait for the drained end, which must be a success.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.wait_for_end()
    }

    /// Waits until the process has ended, which must be a success.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let what = format!("the end of the {}", self.name());
        let status = eventually(&what, LIMIT, || self.ended()).with_context(|| self.log())?;
        ensure!(
            status.success(),
            "the {} ended with {status}\n{}",
            self.name(),
            self.log()
        );
        Ok(())
    }

    /// SIGKILL: what others were told is then all that counts.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("the {} may still run: {error:#}", self.name());
        }
        if thread::panicking() {
            eprintln!("the log of the {}:\n{}", self.name(), self.log.text());
        }
    }
}

/// Lines as they came, readable while they come.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<String>, Condvar)>);

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

    pub(crate) fn text(&self) -> String {
        self.lock().clone()
    }

    pub(crate) fn wait(
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
