use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// So often at least, or one answer that is slow in coming would be the only one.
const LEAST: usize = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer; `what` says in the failure what never came.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    for asked in 1.. {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if asked >= LEAST && Instant::now() >= deadline {
            break;
        }
        thread::sleep(PAUSE);
    }
    bail!("{what}: not within {limit:?}")
}
