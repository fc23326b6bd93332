//! What a command prints, and to whom: who has closed its stdout or stderr has seen enough, and is no reason to leave
//! undone what was asked for.

use std::{
    fmt::Arguments,
    io::{self, BufWriter, StdoutLock, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// A table, with what needs a person first.
    #[default]
    Table,
    /// JSON: one object, or an array where things are listed.
    Json,
}

impl Output {
    /// Writes `value` to stdout, as JSON or as `table` does.
    pub(super) fn show(
        self,
        value: &impl Serialize,
        table: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = BufWriter::new(stdout());
        match self {
            Self::Table => table(&mut out)?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, value)?;
                writeln!(out)?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Says it on stdout, in a line of its own.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::output::say_line(format_args!($($text)*)) };
}
/// Says it on stderr, in a line of its own.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::output::note_line(format_args!($($text)*)) };
}
pub(super) use {note, say};

pub(super) fn say_line(text: Arguments<'_>) {
    if let Err(error) = writeln!(stdout(), "{text}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        note!("error: writing to stdout: {error}");
    }
}

/// Where nobody reads stderr either, there is nobody to tell.
pub(super) fn note_line(text: Arguments<'_>) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Writes a whole document to stdout.
pub(super) fn document(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

pub(super) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

/// The one that remembers whether anybody reads it still.
pub(super) struct Stdout(StdoutLock<'static>);

/// A connection to a server breaks with the same error, and is not to be taken for this.
static CLOSED: AtomicBool = AtomicBool::new(false);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(remember)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(remember)
    }
}

fn remember(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// An error and its causes, but for those that it says itself.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.last().is_none_or(|before| !before.ends_with(&cause)) {
            told.push(cause);
        }
    }
    told.join(": ")
}

/// Whether a command ended early because nobody reads its stdout any more.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    CLOSED.load(Ordering::Relaxed) && is_broken_pipe(error)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        let of_json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        let kind = cause.downcast_ref().map(io::Error::kind).or_else(of_json);
        kind == Some(io::ErrorKind::BrokenPipe)
    };
    error.chain().any(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let quoted = anyhow::anyhow!("no such file").context("cannot read x: no such file");
        assert_eq!(told(&quoted), "cannot read x: no such file");
        let other = anyhow::anyhow!("no such file").context("cannot read x");
        assert_eq!(told(&other), "cannot read x: no such file");
    }

    #[test]
    fn a_closed_pipe_is_told_from_every_other_error() {
        let table = anyhow::Error::new(Closed.write(b"x").unwrap_err()).context("printing");
        assert!(is_broken_pipe(&table));
        let json = serde_json::to_writer(Closed, &["x"]).unwrap_err();
        assert!(is_broken_pipe(&json.into()));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_broken_pipe(&full.into()));
        assert!(!is_closed_pipe(&table), "nobody closed this stdout");
    }
}
