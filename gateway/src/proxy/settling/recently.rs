//! Who was told a moment ago to come again later. kubectl tries SPDY at once where WebSocket was refused, and a terminal
//! must not be held twice for one question.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// kubectl's second try comes within a tenth of a second.
const MOMENT: Duration = Duration::from_secs(2);
const MOST: usize = 256;

/// Digests of streams that were held for as long as they may be.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Recently(Mutex<VecDeque<(Instant, String)>>);

impl Recently {
    pub(super) fn told(&self, digest: &str, now: Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.truncate(MOST - 1);
        told.push_front((now, digest.to_owned()));
    }

    /// Whether this is the second try. There is no third.
    pub(super) fn take(&self, digest: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(when, _)| now.duration_since(*when) <= MOMENT);
        let found = told.iter().position(|(_, known)| known == digest);
        found.and_then(|at| told.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_try_within_a_moment_is_the_second() {
        let (recently, start) = (Recently::default(), Instant::now());
        recently.told("a", start);
        recently.told("b", start);
        assert!(!recently.take("c", start));
        assert!(recently.take("a", start + MOMENT));
        assert!(!recently.take("a", start + MOMENT));
        assert!(!recently.take("b", start + 2 * MOMENT));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (recently, start) = (Recently::default(), Instant::now());
        for n in 0..=MOST {
            recently.told(&n.to_string(), start);
        }
        assert!(!recently.take("0", start));
        assert!(recently.take(&MOST.to_string(), start));
    }
}
