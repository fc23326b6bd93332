//! How often one agent may ask: people who are asked too much approve anything.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Of one agent in this gateway: a burst, such as the objects of one apply, and then one by one.
const BURST: u32 = 100;
const EVERY: Duration = Duration::from_secs(2);
/// Agents that are remembered before those that may ask freely again are forgotten.
const CROWD: usize = 1000;

/// Who has asked how much.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Asked>);

#[derive(Debug)]
struct Asked {
    left: u32,
    since: Instant,
}

impl Rates {
    /// Whether `who` may ask once more; if not, for how long.
    pub(super) fn take(&mut self, who: &str, now: Instant) -> Result<(), Duration> {
        if self.0.len() >= CROWD {
            self.0.retain(|_, asked| {
                asked.refill(now);
                asked.left < BURST
            });
        }
        let asked = self.0.entry(who.to_owned()).or_insert(Asked {
            left: BURST,
            since: now,
        });
        asked.refill(now);
        if asked.left == 0 {
            return Err(EVERY.saturating_sub(now.duration_since(asked.since)));
        }
        asked.left -= 1;
        Ok(())
    }
}

impl Asked {
    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.since).as_secs() / EVERY.as_secs();
        let more = u32::try_from(passed).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(BURST);
        self.since = match self.left {
            BURST => now,
            _ => self.since + EVERY * more,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_asks_in_a_burst_and_then_one_by_one() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        assert!((0..BURST).all(|_| rates.take("a", start).is_ok()));
        assert_eq!(rates.take("a", start), Err(EVERY));
        assert_eq!(rates.take("b", start), Ok(()));
        assert_eq!(rates.take("a", start + EVERY), Ok(()));
        assert!(rates.take("a", start + EVERY).is_err());
        assert!((0..BURST).all(|_| rates.take("a", start + EVERY * 1000).is_ok()));
    }

    #[test]
    fn agents_that_may_ask_freely_again_are_forgotten() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for agent in 0..CROWD {
            rates.take(&agent.to_string(), start).expect("the first");
        }
        rates.take("last", start + EVERY).expect("the first");
        assert_eq!(rates.0.len(), 1);
    }
}
