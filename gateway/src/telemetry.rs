//! Logs of this process. Records of calls are not logs: they are in `audit`.

use std::{
    error::Error,
    fmt::{self, Display},
    io::{self, BufWriter, IsTerminal},
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// hyper warns of what clients do, without their addresses and as often as they like: such connections are
/// counted, and logged at `debug`, by the proxy.
const DEFAULT: &str = "info,hyper=error";

/// Lines that wait for stderr. Beyond them lines are lost, since nothing waits for who reads them.
const MOST_LINES: usize = 16 << 10;

/// Writes what is left when dropped.
#[must_use = "lines are lost that are not written yet when it is dropped"]
pub struct Logs {
    _writer: WorkerGuard,
}

/// Sends logs to stderr, from a thread of their own: a line a call costs a system call each otherwise. `RUST_LOG`
/// selects them; `info,hyper=error` where it is not set.
pub fn start(format: LogFormat) -> Logs {
    let (stderr, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_LINES)
        .finish(BufWriter::new(io::stderr()));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry
            .with(lines.with_ansi(io::stderr().is_terminal()))
            .init(),
        LogFormat::Json => registry.with(lines.json().with_span_list(false)).init(),
    }
    Logs { _writer: writer }
}

/// An error with all its causes, for a log or a person.
pub struct Causes<'a>(pub &'a dyn Error);

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// [`Causes`] as text.
pub fn causes(error: &dyn Error) -> String {
    Causes(error).to_string()
}
