//! When the log will be full.
//!
//! While every file reaches the store the log fills and empties with each of them, which says nothing. So
//! only the time counts in which cut ranges wait without a break: from its beginning, or the last five
//! minutes of it, the log's growth is appended less released bytes.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::audit::wal::Usage;

const WINDOW: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_secs(5);
/// A file takes a moment to be stored; that is not yet a backlog.
const LEAST: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// Since nothing waited, oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    used: u64,
}

impl Forecast {
    /// Takes note of how full the log is at `now`; to be called more often than every ten seconds.
    pub(super) fn look(&mut self, now: Instant, usage: &Usage) -> Option<Duration> {
        let waiting = usage.unreleased_bytes > usage.uncut_bytes;
        self.note(now, usage.used, waiting);
        let room = usage.refuse_at.saturating_sub(usage.used);
        if waiting && room == 0 {
            return Some(Duration::ZERO);
        }
        let first = self.samples.front()?;
        let elapsed = now - first.at;
        let grown = usage
            .used
            .checked_sub(first.used)
            .filter(|grown| *grown > 0 && elapsed >= LEAST)?;
        let seconds = room as f64 / grown as f64 * elapsed.as_secs_f64();
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    fn note(&mut self, now: Instant, used: u64, waiting: bool) {
        if !waiting {
            self.samples.clear();
        }
        let last = self.samples.back();
        if last.is_none_or(|last| now - last.at >= STEP) {
            self.samples.push_back(Sample { at: now, used });
        }
        while self
            .samples
            .get(1)
            .is_some_and(|second| now - second.at >= WINDOW)
        {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
