//! How often one of many may do something: a burst, and then one by one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// So many are remembered; those that may freely again are forgotten, and others beyond it share one rate.
const CROWD: usize = 1000;

/// Who has done how much.
#[derive(Debug)]
pub struct Rates {
    burst: u32,
    every: Duration,
    known: HashMap<String, Taken>,
}

#[derive(Debug)]
struct Taken {
    left: u32,
    since: Instant,
}

impl Rates {
    /// `burst` at once, and one more `every` so long.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            known: HashMap::new(),
        }
    }

    /// Whether `who` may once more; if not, for how long.
    pub fn take(&mut self, who: &str, now: Instant) -> Result<(), Duration> {
        let (burst, every) = (self.burst, self.every);
        let who = self.remembered(who, now);
        let taken = self.known.entry(who.to_owned()).or_insert(Taken {
            left: burst,
            since: now,
        });
        taken.refill(burst, every, now);
        if taken.left == 0 {
            return Err(every.saturating_sub(now.duration_since(taken.since)));
        }
        taken.left -= 1;
        Ok(())
    }

    /// By this name, or by that of all who come when there is no room to remember one more.
    fn remembered<'a>(&mut self, who: &'a str, now: Instant) -> &'a str {
        if self.known.len() < CROWD || self.known.contains_key(who) {
            return who;
        }
        let (burst, every) = (self.burst, self.every);
        self.known.retain(|_, taken| {
            taken.refill(burst, every, now);
            taken.left < burst
        });
        if self.known.len() < CROWD { who } else { "" }
    }
}

impl Taken {
    fn refill(&mut self, burst: u32, every: Duration, now: Instant) {
        let passed = now.duration_since(self.since).as_millis() / every.as_millis();
        let more = u32::try_from(passed).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(burst);
        self.since = match self.left {
            full if full == burst => now,
            _ => self.since + every * more,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = 100;
    const EVERY: Duration = Duration::from_secs(2);

    fn rates() -> (Rates, Instant) {
        (Rates::new(BURST, EVERY), Instant::now())
    }

    #[test]
    fn an_agent_asks_in_a_burst_and_then_one_by_one() {
        let (mut rates, start) = rates();
        assert!((0..BURST).all(|_| rates.take("a", start).is_ok()));
        assert_eq!(rates.take("a", start), Err(EVERY));
        assert_eq!(rates.take("b", start), Ok(()));
        assert_eq!(rates.take("a", start + EVERY), Ok(()));
        assert!(rates.take("a", start + EVERY).is_err());
        assert!((0..BURST).all(|_| rates.take("a", start + EVERY * 1000).is_ok()));
    }

    #[test]
    fn agents_that_may_ask_freely_again_are_forgotten() {
        let (mut rates, start) = rates();
        for agent in 0..CROWD {
            rates.take(&agent.to_string(), start).expect("the first");
        }
        rates.take("last", start + EVERY).expect("the first");
        assert_eq!(rates.known.len(), 1);
    }

    #[test]
    fn whoever_comes_to_a_full_crowd_shares_one_rate() {
        let (mut rates, start) = rates();
        for agent in 0..CROWD {
            rates.take(&agent.to_string(), start).expect("the first");
        }
        let strangers = (0..).map(|stranger| format!("stranger-{stranger}"));
        let passed = strangers.take_while(|stranger| rates.take(stranger, start).is_ok());
        assert_eq!(passed.count(), BURST as usize);
        assert_eq!(rates.known.len(), CROWD + 1);
        assert_eq!(rates.take("7", start), Ok(()));
    }
}
