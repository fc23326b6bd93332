use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// A process of its own that does one thing, named by a verb of `kernel-client`, and says how it went.
pub(crate) struct Client {
    program: Command,
}

/// What a process is to do.
pub(crate) fn client(arguments: &[&str]) -> Client {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kernel-client"));
    program.args(arguments);
    Client { program }
}

impl Client {
    /// What it says.
    pub(crate) fn run(self) -> String {
        self.start().finish()
    }

    /// What it says when it was moved into `cgroup` before it did anything.
    pub(crate) fn run_in(self, cgroup: &Path) -> String {
        self.start_in(cgroup).finish()
    }

    pub(crate) fn start_in(self, cgroup: &Path) -> Started {
        let started = self.start();
        started.move_to(cgroup);
        started
    }

    /// In the network namespace of the thread. Most verbs wait for stdin to close, the others for lines on it.
    pub(crate) fn start(mut self) -> Started {
        let mut child = self
            .program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Started {
            stdout: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        }
    }
}

pub(crate) struct Started {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Started {
    pub(crate) fn move_to(&self, cgroup: &Path) {
        fs::write(cgroup.join("cgroup.procs"), self.child.id().to_string()).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets the process go on, by closing its stdin, and waits for its word.
    pub(crate) fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        let mut outcome = String::new();
        self.stdout.read_to_string(&mut outcome).unwrap();
        self.child.wait().unwrap();
        outcome.trim_end().to_owned()
    }
}

/// Where a process of its own ends up when it connects to `address`: the greeting, or the error.
pub(crate) fn connect(address: SocketAddr) -> String {
    client(&["connect", &address.to_string()]).run()
}

/// The same for a process that was moved into `cgroup` before it made its socket.
pub(crate) fn connect_inside(cgroup: &Path, address: SocketAddr) -> String {
    client(&["connect", &address.to_string()]).run_in(cgroup)
}
