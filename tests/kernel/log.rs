//! The gateway's log of this process, as JSON lines.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

static LINES: Mutex<String> = Mutex::new(String::new());
static WRITTEN: Condvar = Condvar::new();

pub(crate) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(|| Writer)
            .init()
    });
}

/// Waits for a line that contains all of `parts`.
pub(crate) fn wait_for(parts: &[&str]) -> serde_json::Value {
    let found = |lines: &str| {
        let line = lines
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))?;
        Some(serde_json::from_str(line).expect("each line is whole JSON"))
    };
    let missing = |lines: &mut String| found(lines).is_none();
    let (lines, _) = WRITTEN
        .wait_timeout_while(lines(), PATIENCE, missing)
        .unwrap();
    found(&lines).unwrap_or_else(|| panic!("no line with {parts:?} in:\n{lines}"))
}

/// Far longer than it takes: how soon an event arrives is not what is tested.
const PATIENCE: Duration = Duration::from_secs(30);

fn lines() -> MutexGuard<'static, String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives one whole line in each call.
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        lines().push_str(&String::from_utf8_lossy(line));
        WRITTEN.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
