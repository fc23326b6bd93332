//! What the agent knows of one pod that has a cgroup on this node.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::{desired::Desired, pods::KnownPod};
use crate::redirect::{PodCgroup, PodState};

/// Between two attempts at what did not work: a sandbox comes within the first few, a person's repair later.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) cgroup: PodCgroup,
    /// What was said last; of a pod that the API server has no word of any more, what it said before.
    pub(super) facts: Option<Arc<KnownPod>>,
    pub(super) desired: Desired,
    /// As the kernel was told.
    pub(super) classified: Option<PodState>,
    pub(super) ports_guarded: bool,
    pub(super) enforced: bool,
    /// What the kernel did not do.
    pub(super) kernel_trouble: Option<String>,
    /// Why there is no listener.
    pub(super) no_listener: Option<String>,
    /// Destinations that cannot be listened for.
    pub(super) refused: BTreeMap<SocketAddr, String>,
    /// Its listeners were seen to be there and to answer.
    pub(super) canary: bool,
    /// How what was seen last differs from what should be.
    pub(super) mismatch: Option<String>,
    pub(super) attempts: Attempts,
    /// When its network is looked at next, where it has listeners.
    pub(super) examine_at: Instant,
    /// A container came or went: until then it is looked at again and again, as its network may be replaced.
    pub(super) restless_until: Instant,
}

impl Tracked {
    pub(super) fn new(cgroup: PodCgroup, now: Instant) -> Self {
        Self {
            cgroup,
            facts: None,
            desired: Desired::Unknown("this pod was not looked at yet"),
            classified: None,
            ports_guarded: false,
            enforced: false,
            kernel_trouble: None,
            no_listener: None,
            refused: BTreeMap::new(),
            canary: false,
            mismatch: None,
            attempts: Attempts::at(now),
            examine_at: now,
            restless_until: now,
        }
    }

    /// A container came or went.
    pub(super) fn stir(&mut self, now: Instant) {
        const SETTLES: Duration = Duration::from_secs(3);
        self.restless_until = now + SETTLES;
        self.examine_at = self.examine_at.min(now + Duration::from_millis(100));
        self.attempts = Attempts::at(now);
    }

    /// When something is to be done for it without anything having changed.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let Desired::Agent(agent) = &self.desired else {
            return None;
        };
        let wants_attempt =
            !agent.ended && (self.no_listener.is_some() || self.kernel_trouble.is_some());
        wants_attempt.then_some(self.attempts.next)
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    next: Instant,
    pause: Duration,
}

impl Attempts {
    pub(super) fn at(now: Instant) -> Self {
        Self {
            next: now,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
