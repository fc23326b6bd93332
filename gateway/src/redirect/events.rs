//! The kernel programs' own log lines, passed on to `tracing`.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::AsFd as _,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::Error;

/// The target of every event that is passed on.
const TARGET: &str = "sallyport::redirect::kernel";

/// Up to which level of aya-log's programs that are loaded now report. What is left out costs them nothing, so
/// a redirected connection is reported only where someone listens at debug level.
pub(super) fn wanted_level() -> u8 {
    const INFO: u8 = 3;
    const DEBUG: u8 = 4;
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        DEBUG
    } else {
        INFO
    }
}

/// What the kernel programs report: an event for each call that they refuse and packet that they drop, and at
/// debug level for each connection that they redirect.
///
/// Events are a convenience: when they are not read the kernel drops them, and decides the same.
#[must_use = "the events are lost unless they are forwarded"]
pub struct KernelEvents(EbpfLogger<Forwarder>);

impl KernelEvents {
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, Error> {
        EbpfLogger::init_with_logger(ebpf, Forwarder::new())
            .map(Self)
            .map_err(|error| Error::Events(io::Error::other(error)))
    }

    /// Passes events on as they come, from a thread of its own.
    pub fn forward(self) -> Result<ForwardedEvents, Error> {
        let (stopped, stop) = io::pipe().map_err(Error::Events)?;
        let thread = thread::Builder::new()
            .name("kernel-events".to_owned())
            .spawn(move || forward_until(&stopped, self.0))
            .map_err(Error::Events)?;
        Ok(ForwardedEvents {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// Events are forwarded until this is dropped; those already reported by then still are.
pub struct ForwardedEvents {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ForwardedEvents {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that forwards kernel events panicked");
        }
    }
}

/// Waits on both files with `poll`, as tokio's own way of watching a foreign file is unsafe.
fn forward_until(stopped: &PipeReader, mut logger: EbpfLogger<Forwarder>) {
    loop {
        match wait(stopped, &logger) {
            Ok(Woken::ByEvents) => logger.flush(),
            Ok(Woken::ByStop) => return logger.flush(),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "cannot wait for kernel events; no more will be logged");
                return;
            }
        }
    }
}

enum Woken {
    ByEvents,
    ByStop,
}

fn wait(stopped: &PipeReader, logger: &EbpfLogger<Forwarder>) -> Result<Woken, Errno> {
    let watch = |file| PollFd::new(file, PollFlags::POLLIN);
    let mut files = [watch(stopped.as_fd()), watch(logger.as_fd())];
    poll(&mut files, PollTimeout::NONE)?;
    let closed = files[0]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLHUP));
    Ok(if closed {
        Woken::ByStop
    } else {
        Woken::ByEvents
    })
}

/// Turns aya-log's records into `tracing` events, a bounded number of them per second.
struct Forwarder(Mutex<Rate>);

impl Forwarder {
    fn new() -> Self {
        Self(Mutex::new(Rate::new(Instant::now())))
    }
}

impl log::Log for Forwarder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let admitted = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(Instant::now());
        if let Some(suppressed) = admitted {
            emit(record, suppressed);
        }
    }

    fn flush(&self) {}
}

fn emit(record: &log::Record<'_>, suppressed: u64) {
    let message = record.args();
    match record.level() {
        log::Level::Error => tracing::error!(target: TARGET, suppressed, "{message}"),
        log::Level::Warn => tracing::warn!(target: TARGET, suppressed, "{message}"),
        log::Level::Info => tracing::info!(target: TARGET, suppressed, "{message}"),
        log::Level::Debug => tracing::debug!(target: TARGET, suppressed, "{message}"),
        log::Level::Trace => tracing::trace!(target: TARGET, suppressed, "{message}"),
    }
}

/// At most [`Rate::PER_WINDOW`] events in each window; the rest are only counted.
struct Rate {
    window_start: Instant,
    admitted: u32,
    suppressed: u64,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(1);
    const PER_WINDOW: u32 = 100;

    fn new(now: Instant) -> Self {
        Self {
            window_start: now,
            admitted: 0,
            suppressed: 0,
        }
    }

    /// Whether to emit an event now, and how many were suppressed since the last one emitted.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.window_start) >= Self::WINDOW {
            (self.window_start, self.admitted) = (now, 0);
        }
        if self.admitted == Self::PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted_in_the_next_window() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let flood: Vec<_> = (0..Rate::PER_WINDOW + 7)
            .map(|_| rate.admit(start))
            .collect();
        assert_eq!(flood.iter().flatten().count(), Rate::PER_WINDOW as usize);
        assert_eq!(rate.admit(start + Rate::WINDOW), Some(7));
        assert_eq!(rate.admit(start + Rate::WINDOW), Some(0));
    }
}
