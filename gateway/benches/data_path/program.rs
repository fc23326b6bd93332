//! A program that is measured: started, watched through `/proc`, ended by its id.

use std::{
    fs,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

const ENDS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process and its children; dropping it ends them.
pub(crate) struct Program {
    pub(crate) child: Child,
}

impl Program {
    /// Starts what the kernel ends if we die first.
    pub(crate) fn start(name: &str, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", name]);
        configure(&mut command);
        let child = command.spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")),
        }
    }

    /// The CPU time of all its processes.
    pub(crate) fn cpu(&self) -> Duration {
        let time = |pid| {
            let clock = clock_getcpuclockid(pid).expect("it runs");
            Duration::from(clock_gettime(clock).expect("it runs"))
        };
        self.processes().into_iter().map(time).sum()
    }

    /// Bytes that are resident now.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that were resident since [`Program::forget_peak`].
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        for pid in self.processes() {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
        }
    }

    fn memory(&self, field: &str) -> u64 {
        let of = |pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kilobytes =
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kilobytes.expect("memory in kB") * 1024
        };
        self.processes().into_iter().map(of).sum()
    }

    fn processes(&self) -> Vec<Pid> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        let pids = std::iter::once(pid.cast_signed()).chain(children);
        pids.map(Pid::from_raw).collect()
    }

    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended() {
            return;
        }
        // Not the last resort at once: nginx's workers would outlive it.
        let asked = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        if asked.is_ok() && eventually(ENDS_WITHIN, || self.ended().then_some(())).is_some() {
            return;
        }
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// What `look` finds in time.
pub(crate) fn eventually<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < within {
        if let Some(found) = look() {
            return Some(found);
        }
        thread::sleep(LOOK_EVERY);
    }
    None
}
