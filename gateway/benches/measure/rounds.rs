//! Two sides in alternating rounds: what slows the machine down for a while slows both.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Rounds of each side; an odd number, so that the median is one of them.
pub(crate) const ROUNDS: usize = 7;

/// One line of output, in a unit where more is better.
#[derive(Serialize)]
pub(crate) struct Measurement<'a> {
    pub(crate) name: &'a str,
    pub(crate) ours: f64,
    pub(crate) reference: f64,
    /// The ratio of ours to the reference that is good enough, where that was decided.
    pub(crate) goal: Option<f64>,
}

impl Measurement<'_> {
    pub(crate) fn print(&self) {
        let line = serde_json::to_string(self).expect("text and numbers are JSON");
        println!("{line}");
    }
}

/// Runs both sides in turn, the first pair unmeasured, and gives each side's median.
pub(crate) fn alternate(
    mut ours: impl FnMut() -> f64,
    mut reference: impl FnMut() -> f64,
) -> (f64, f64) {
    ours();
    reference();
    let rounds = (0..ROUNDS).map(|_| (ours(), reference()));
    let (ours, reference) = rounds.unzip();
    (median(ours), median(reference))
}

/// The CPU time of all threads of this process while `work` runs; waiting costs nothing.
pub(crate) fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let before = cpu_time();
    work();
    (cpu_time() - before).as_secs_f64()
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    now.expect("every process has a CPU clock").into()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
