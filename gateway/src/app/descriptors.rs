//! File descriptors: the log and the store must never go without because agents took them all.

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept for segments of the log, Parquet files, the admin listener and what libraries open.
const SPARE: u64 = 256;
const MOST: u64 = 4096;
const FEWEST: u64 = 64;
/// 250 pods with 32 destinations each.
const MOST_LISTENERS: u64 = 8192;

/// What fits beside each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Descriptors {
    /// Of agents, each with one to the API server.
    pub(super) connections: usize,
    /// Inside of pods, one for each destination.
    pub(super) listeners: usize,
}

/// Raises the soft limit first. Listeners are counted only where there can be any.
pub(super) fn divide(with_listeners: bool) -> anyhow::Result<Descriptors> {
    fitting(raise()?, with_listeners)
}

/// Raises the soft limit as far as it goes, and says how far that is.
pub(super) fn raise() -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading RLIMIT_NOFILE")?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        tracing::warn!(soft, hard, "the limit on open files could not be raised");
        return Ok(soft);
    }
    Ok(hard)
}

fn fitting(descriptors: u64, with_listeners: bool) -> anyhow::Result<Descriptors> {
    let free = descriptors.saturating_sub(SPARE);
    let listeners = match with_listeners {
        true => MOST_LISTENERS.min(free / 4),
        false => 0,
    };
    // Each may have accepted a connection that waits for its place.
    let fit = (free - 2 * listeners) / 2;
    anyhow::ensure!(
        fit >= FEWEST,
        "only {descriptors} files may be open, which is too few to serve and record; raise `ulimit -n` to {} or more",
        SPARE + 2 * FEWEST
    );
    if fit < MOST {
        tracing::info!(
            connections = fit,
            "the limit on open files bounds the connections"
        );
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Descriptors {
        connections: size(fit.min(MOST)),
        listeners: size(listeners),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_its_descriptors() {
        let fit = |descriptors, with_listeners| {
            let fit = fitting(descriptors, with_listeners).expect("enough");
            (fit.connections, fit.listeners)
        };
        assert_eq!(fit(1024, false), (384, 0));
        assert_eq!(fit(1024, true), (192, 192));
        assert_eq!(fit(1 << 20, false), (4096, 0));
        assert_eq!(fit(1 << 20, true), (4096, 8192));
        let error = fitting(128, false).expect_err("too few");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
