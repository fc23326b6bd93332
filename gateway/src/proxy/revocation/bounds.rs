//! What a call that runs is held to: as its rules said when it began, and then as they say.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Counters, Ending};
use crate::{
    api::v1alpha1::agent_policy::{AgentView, RecordLevel},
    audit::record::Level,
    policy::Obligations,
};

/// In the time after which what is idle ends, it is looked at so often.
const LOOKS: u32 = 8;

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::proxy) struct Bounds {
    pub(super) idle: Option<Duration>,
    pub(super) duration: Option<Duration>,
    /// At least so much is recorded.
    pub(in crate::proxy) record: Option<Level>,
    pub(super) agent_view: AgentView,
    pub(super) hides_manifests: bool,
}

/// Since when a call runs, and how long nothing has passed.
pub(super) struct Clock {
    began: Instant,
    traffic: Counters,
    passed: u64,
    quiet_since: Instant,
}

impl Bounds {
    pub(in crate::proxy) fn of(obligations: &Obligations) -> Self {
        let level = |least| match least {
            RecordLevel::Metadata => Level::Metadata,
            RecordLevel::Request => Level::Request,
            RecordLevel::RequestResponse => Level::RequestResponse,
        };
        Self {
            idle: obligations.idle,
            duration: obligations.duration,
            record: obligations.record.map(level),
            agent_view: obligations.agent_view,
            hides_manifests: obligations.hides_manifests,
        }
    }

    /// Whether an answer that began under the others shows what it would not show now.
    pub(super) fn show_less_than(&self, others: &Self) -> bool {
        self.agent_view > others.agent_view || self.hides_manifests && !others.hides_manifests
    }

    /// What is longer now stays as it was.
    pub(super) fn shorten(&mut self, now: &Self) {
        let shorter = |one: Option<Duration>, other| one.into_iter().chain(other).min();
        self.idle = shorter(self.idle, now.idle);
        self.duration = shorter(self.duration, now.duration);
    }
}

impl Clock {
    pub(super) fn of(traffic: Counters) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            traffic,
            passed: 0,
            quiet_since: now,
        }
    }

    /// Resolves when the call has reached a bound.
    pub(super) async fn runs_out(&mut self, bounds: Bounds) -> Ending {
        let began = self.began;
        tokio::select! {
            ending = too_long(began, bounds.duration) => ending,
            ending = self.idle(bounds.idle) => ending,
        }
    }

    /// Later by an eighth at most: a limit that was there at the beginning is kept to the moment elsewhere.
    async fn idle(&mut self, limit: Option<Duration>) -> Ending {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let passed: u64 = self.traffic.iter().map(|count| count.load(Relaxed)).sum();
            if passed != self.passed {
                self.passed = passed;
                self.quiet_since = Instant::now();
            } else if self.quiet_since.elapsed() >= limit {
                return Ending::Idle(limit);
            }
            sleep(limit / LOOKS).await;
        }
    }
}

async fn too_long(began: Instant, limit: Option<Duration>) -> Ending {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    sleep_until(began + limit).await;
    Ending::TooLong(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn bounds(idle: Option<Duration>, duration: Option<Duration>) -> Bounds {
        Bounds {
            idle,
            duration,
            ..Bounds::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_too_long_ends_also_by_a_bound_that_came_later() {
        let mut clock = Clock::of(Counters::default());
        let mut held_to = bounds(None, None);
        sleep(MINUTE).await;
        held_to.shorten(&bounds(None, Some(MINUTE / 2 * 3)));
        held_to.shorten(&bounds(None, Some(MINUTE * 3)));
        held_to.shorten(&bounds(None, None));
        let ending = clock.runs_out(held_to).await;
        assert_eq!(
            ending.to_string(),
            "a rule's streams.duration of 90 s is over"
        );
        assert_eq!(clock.began.elapsed(), MINUTE / 2 * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_something_goes_on_under_a_shorter_limit() {
        let traffic = Counters::default();
        let mut clock = Clock::of(traffic.clone());
        let mut held_to = bounds(Some(MINUTE * 10), None);
        held_to.shorten(&bounds(Some(MINUTE), None));
        for _ in 0..3 {
            traffic[1].fetch_add(1, Relaxed);
            let half = tokio::time::timeout(MINUTE / 2, clock.runs_out(held_to));
            assert!(half.await.is_err(), "it ended early");
        }
        let ending = clock.runs_out(held_to).await;
        assert_eq!(ending.to_string(), "nothing passed for 60 s");
        assert!(clock.quiet_since.elapsed() < MINUTE / 8 * 10);
    }
}
