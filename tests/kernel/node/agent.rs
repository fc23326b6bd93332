use std::{
    cell::RefCell,
    fmt, fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use harness::eventually;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::LIMIT;

/// A process of the real binary; dropping it kills it, which takes nothing away.
pub(crate) struct NodeAgent {
    process: RefCell<Child>,
    log: Arc<Mutex<String>>,
    admin: SocketAddr,
}

impl NodeAgent {
    pub(crate) fn start(config: &Path) -> Self {
        let mut process = Command::new(binary())
            .args(["node", "--log-format", "json", "--config"])
            .arg(config)
            .env("RUST_LOG", "info,sallyport=debug,hyper=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                written.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut agent = Self {
            process: RefCell::new(process),
            log,
            admin: nowhere,
        };
        agent.admin = agent.listening();
        agent
    }

    pub(crate) fn uninstall(pins: &Path) {
        let status = Command::new(binary())
            .args(["node", "uninstall", "--pins"])
            .arg(pins)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    fn listening(&self) -> SocketAddr {
        let line = eventually("the line about the admin listener", LIMIT, || {
            let log = self.log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            Ok(lines.find(|line| line["fields"]["listener"] == "admin"))
        });
        let line = line.unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
        line["fields"]["addr"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn eventually_ready(&self) {
        self.eventually("the node agent is ready", |agent| {
            agent.get("/readyz").starts_with("HTTP/1.0 200")
        });
    }

    pub(crate) fn eventually_superseded(&self) {
        self.eventually("the node agent knows its successor", |agent| {
            agent.get("/readyz").contains("superseded")
        });
    }

    pub(crate) fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let outcome = eventually(what, LIMIT, || Ok(holds(self).then_some(())));
        outcome.unwrap_or_else(|error| {
            panic!("{error}\n{}\n{}", self.get("/readyz"), self.log());
        });
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
            .parse()
            .unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin).unwrap();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: node\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn memory(&self) -> Memory {
        let process = self.process.borrow().id();
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
        let bytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.unwrap().split_whitespace().next().unwrap();
            kibibytes.parse::<u64>().unwrap() << 10
        };
        Memory {
            resident: bytes("Rss:"),
            anonymous: bytes("Anonymous:"),
        }
    }

    /// Without a word of warning.
    pub(crate) fn kill(&self) {
        let mut process = self.process.borrow_mut();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(self.process.borrow().id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = eventually("the node agent's end", LIMIT, || {
            Ok(self.process.borrow_mut().try_wait()?)
        });
        assert!(status.unwrap().success(), "{}", self.log());
    }
}

/// What a process has in memory, and of that what is no file's.
pub(crate) struct Memory {
    resident: u64,
    anonymous: u64,
}

impl Memory {
    /// What a released build would have resident: where nothing is optimized, code is several times as large.
    pub(crate) fn counted(&self) -> u64 {
        /// Left for the code of such a build.
        const CODE: u64 = 16 << 20;
        match cfg!(debug_assertions) {
            true => self.anonymous + CODE,
            false => self.resident,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resident, anonymous) = (self.resident >> 10, self.anonymous >> 10);
        write!(
            f,
            "{resident} KiB resident, {anonymous} KiB of it anonymous"
        )
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        let mut process = self.process.borrow_mut();
        if process.try_wait().unwrap().is_none() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn binary() -> String {
    let binary = std::env::var("SALLYPORT_TEST_GATEWAY").expect("run `cargo xtask test kernel`");
    fs::canonicalize(binary)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}
