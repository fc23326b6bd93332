//! Other programs, run to their end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{of_tier, wait::eventually};

/// A hang is a failure of the test, not of the whole run.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// `-1` where a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn is_success(&self) -> bool {
        self.status == 0
    }

    /// The standard output of a success; both streams in the error otherwise.
    pub fn success(self) -> Result<String> {
        if self.is_success() {
            return Ok(self.stdout);
        }
        bail!(
            "ended with {}\nstdout: {}\nstderr: {}",
            self.status,
            self.stdout,
            self.stderr
        )
    }

    /// The standard error of a failure.
    pub fn failure(self) -> Result<String> {
        if !self.is_success() {
            return Ok(self.stderr);
        }
        bail!(
            "succeeded, but must be refused\nstdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        )
    }
}

/// Runs `command` with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let stdout = collect(child.stdout.take().context("stdout is piped")?);
    let stderr = collect(child.stderr.take().context("stderr is piped")?);
    // A program that ends without reading its input is judged by its status.
    let _unread = child
        .stdin
        .take()
        .context("stdin is piped")?
        .write_all(input);

    let limit = LIMIT * of_tier(1, 3);
    let ended = eventually(&format!("the end of {command:?}"), limit, || {
        Ok(child.try_wait()?)
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (stdout, stderr) = (text(stdout)?, text(stderr)?);
    let status = ended.with_context(|| format!("stdout: {stdout}\nstderr: {stderr}"))?;
    Ok(Output {
        status: status.code().unwrap_or(-1),
        stdout,
        stderr,
    })
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes)
    })
}

fn text(reader: JoinHandle<std::io::Result<Vec<u8>>>) -> Result<String> {
    let bytes = reader.join().ok().context("the reader panicked")??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A program that goes on by itself, read line by line; dropping it ends it.
pub struct Follower {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Follower {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// With a standard input that stays open until it is ended.
    pub(crate) fn start_with_input(command: &mut Command) -> Result<Self> {
        Self::spawn(command.stdin(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = sync_channel(1000);
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Nobody listens any more once the test is over.
            lines.all(|line| sender.send(line).is_ok());
        });
        Ok(Self {
            child,
            stdin,
            lines,
        })
    }

    /// Waits for a line that `wanted` is true of.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("{what}: not within {LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the program ended before"),
            }
        }
    }

    /// Sends `bytes` to the program's standard input.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the program has no input")?;
        Ok(stdin.write_all(bytes)?)
    }

    /// Ends the program's standard input and waits for its end: its last lines, and its status.
    pub fn finish(mut self) -> Result<(Vec<String>, i32)> {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Timeout) => bail!("the program's end: not within {LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = eventually("the program's end", LIMIT, || Ok(self.child.try_wait()?))?;
        Ok((rest, status.code().unwrap_or(-1)))
    }

    /// Waits until the program has ended by itself: its status, `-1` where a signal ended it.
    pub fn wait_for_end(&mut self) -> Result<i32> {
        let status = eventually("the end of a program", LIMIT, || {
            Ok(self.child.try_wait()?)
        })?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("a program may still run: {error}");
        }
    }
}
