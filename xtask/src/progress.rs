//! Says what is going on while something long runs.

use std::{
    fmt::Display,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

const REMIND_EVERY: Duration = Duration::from_secs(15);
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// Does `work`, announced by name, with a reminder every 15 seconds and its time at the end.
pub(crate) fn step<T>(what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("· {what}");
    let started = Instant::now();
    let outcome = with_reminders(started, work);
    if outcome.is_ok() && started.elapsed() > WORTH_SAYING {
        eprintln!("  done in {}", seconds(started.elapsed()));
    }
    outcome.with_context(|| format!("{what}: failed after {}", seconds(started.elapsed())))
}

fn with_reminders<T>(started: Instant, work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::sync_channel::<()>(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(REMIND_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("  … {}", seconds(started.elapsed()));
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// `0.4 s`, `41 s`, `3 min 05 s`.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 10..120 => format!("{whole} s"),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}
