//! Programs that run while something else happens: the control plane, the OIDC provider, the gateway.
//!
//! Each ends when its stdin closes or is bound to our life by the kernel, so nothing outlives us even if we
//! are killed. Ctrl-C in a terminal does not reach them: we end them when we are done with them.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::command::{last_lines, line, probe};

const ENDS_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running program; dropping it ends it.
pub(crate) struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `command` with its stderr in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let stderr =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot run `{}`", line(command)))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Waits for the line of JSON on stdout that says the program is ready.
    pub(crate) fn announcement<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut text = String::new();
        let stdout = self
            .child
            .stdout
            .take()
            .context("the announcement is read once")?;
        BufReader::new(stdout).read_line(&mut text)?;
        if text.is_empty() {
            bail!("it ended before it was ready; {}", self.last_words());
        }
        serde_json::from_str(&text).with_context(|| format!("not an announcement: {text}"))
    }

    /// Waits until `find` finds something in a line of the log.
    pub(crate) fn wait_for<T>(
        &mut self,
        within: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            let ended = self.child.try_wait()?;
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(found) = log.lines().find_map(&find) {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("it ended with {status}; {}", self.last_words());
            }
            if started.elapsed() > within {
                bail!(
                    "it is not ready after {} s; {}",
                    within.as_secs(),
                    self.last_words()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("the end of {}:\n{}", self.log.display(), last_lines(&log))
    }

    fn ended(&mut self, within: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < within {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(LOOK_EVERY);
        }
        false
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The shell's own kill: the program of that name is not on every machine.
        probe("sh", &["-c", &format!("kill -TERM {}", self.child.id())]);
        if !self.ended(ENDS_WITHIN) {
            eprintln!("warning: process {} had to be killed", self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
