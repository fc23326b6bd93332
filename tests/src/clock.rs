//! A clock of its own for one process: libfaketime, loaded into that process alone. What it measures without a clock,
//! such as timeouts, goes on as it is.

use std::{fs, path::Path};

use anyhow::Result;

use crate::environment;

const FILE: &str = "clock";

/// The variables of a process in `directory` whose clock is ahead by so many seconds, or behind.
pub(crate) fn of(directory: &Path, clock: Option<i64>) -> Result<Vec<(&'static str, String)>> {
    let Some(seconds) = clock else {
        return Ok(Vec::new());
    };
    set(directory, seconds)?;
    let file = directory.join(FILE).display().to_string();
    let on = || "1".to_owned();
    Ok(vec![
        (
            "LD_PRELOAD",
            environment::variable("SALLYPORT_TEST_FAKETIME")?,
        ),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", on()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", on()),
        ("NO_FAKE_STAT", on()),
    ])
}

/// Also while it runs.
pub(crate) fn set(directory: &Path, seconds: i64) -> Result<()> {
    let draft = directory.join("clock.draft");
    fs::write(&draft, format!("{seconds:+}s"))?;
    Ok(fs::rename(draft, directory.join(FILE))?)
}
