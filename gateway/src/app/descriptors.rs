//! File descriptors: the log and the store must never go without because agents took them all.

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept for segments of the log, Parquet files, the admin listener and what libraries open.
const SPARE: u64 = 256;
const MOST: u64 = 4096;
const FEWEST: u64 = 64;

/// How many connections of agents fit, each with one to the API server. Raises the soft limit first.
pub(super) fn connections() -> anyhow::Result<usize> {
    fitting(raise()?)
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

fn fitting(descriptors: u64) -> anyhow::Result<usize> {
    let fit = descriptors.saturating_sub(SPARE) / 2;
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
    Ok(usize::try_from(fit.min(MOST)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_its_descriptors() {
        assert_eq!(fitting(1024).expect("enough"), 384);
        assert_eq!(fitting(1 << 20).expect("enough"), 4096);
        let error = fitting(128).expect_err("too few");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
