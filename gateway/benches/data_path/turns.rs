//! Sides take turns: what slows the machine down for a while slows all of them.

use std::env;

use crate::side::Side;

/// What each side measured in each of its turns.
pub(crate) struct Turns<T>(Vec<(&'static str, Vec<T>)>);

impl<T> Turns<T> {
    /// Measures each side in turn, the first round for nothing.
    pub(crate) fn take(
        sides: &[&Side],
        rounds: usize,
        mut measure: impl FnMut(&Side) -> T,
    ) -> Self {
        let mut turns = Self(sides.iter().map(|side| (side.name, Vec::new())).collect());
        for round in 0..=rounds_or(rounds) {
            for (side, (_, values)) in sides.iter().zip(&mut turns.0) {
                let value = measure(side);
                if round > 0 {
                    values.push(value);
                }
            }
        }
        turns
    }

    /// A side's median, if that side was there.
    pub(crate) fn median(&self, name: &str, value: impl Fn(&T) -> f64) -> Option<f64> {
        let (_, values) = self.0.iter().find(|(side, _)| *side == name)?;
        Some(median(values.iter().map(value).collect()))
    }

    pub(crate) fn medians(&self, value: impl Fn(&T) -> f64) -> Vec<(&'static str, f64)> {
        let all = |values: &[T]| median(values.iter().map(&value).collect());
        self.0
            .iter()
            .map(|(side, values)| (*side, all(values)))
            .collect()
    }
}

/// `SALLYPORT_BENCH_ROUNDS` is for a quick look.
fn rounds_or(rounds: usize) -> usize {
    let wanted = env::var("SALLYPORT_BENCH_ROUNDS").ok();
    wanted
        .and_then(|text| text.parse().ok())
        .unwrap_or(rounds)
        .max(1)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
