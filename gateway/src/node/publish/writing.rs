//! When what is written.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Duration, Instant};

use crate::node::snapshot::{PodSnapshot, Snapshot};

const BETWEEN_CHANGES: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Write {
    Whole(Arc<Snapshot>, Timestamp),
    /// Nothing has changed but the time.
    Renewal(Timestamp),
}

#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Seen since the last write.
    seen: Option<Seen>,
    /// What the object holds; `None` where that is not known.
    written: Option<Arc<Snapshot>>,
    /// The last attempt.
    last: Option<Instant>,
    failed: bool,
}

#[derive(Debug)]
struct Seen {
    snapshot: Arc<Snapshot>,
    at: Timestamp,
    now: Instant,
}

impl Writing {
    pub(super) fn see(&mut self, snapshot: Arc<Snapshot>, at: Timestamp, now: Instant) {
        self.seen = Some(Seen { snapshot, at, now });
    }

    /// `None` while nothing has been seen since the last write.
    pub(super) fn due(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        let Some(last) = self.last else {
            return Some(seen.now);
        };
        let wait = if !self.failed && self.is_news(&seen.snapshot) {
            BETWEEN_CHANGES
        } else {
            RENEWAL
        };
        Some(last + wait)
    }

    fn is_news(&self, snapshot: &Snapshot) -> bool {
        let written = self.written.as_ref();
        written.is_none_or(|written| without_counts(written) != without_counts(snapshot))
    }

    pub(super) fn next(&self) -> Option<Write> {
        let seen = self.seen.as_ref()?;
        Some(if self.written.as_ref() == Some(&seen.snapshot) {
            Write::Renewal(seen.at)
        } else {
            Write::Whole(Arc::clone(&seen.snapshot), seen.at)
        })
    }

    pub(super) fn done(&mut self, write: Write, ok: bool, now: Instant) {
        self.last = Some(now);
        self.failed = !ok;
        match write {
            _ if !ok => self.written = None,
            Write::Whole(snapshot, _) => {
                self.written = Some(snapshot);
                self.seen = None;
            }
            Write::Renewal(_) => self.seen = None,
        }
    }
}

fn without_counts(snapshot: &Snapshot) -> Snapshot {
    let pods = snapshot.pods.iter().map(|pod| PodSnapshot {
        api_connections: 0,
        ..pod.clone()
    });
    Snapshot {
        pods: pods.collect(),
        problems: snapshot.problems.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::snapshot::CoverageState;

    fn snapshot(state: CoverageState, api_connections: u64) -> Arc<Snapshot> {
        let pod = PodSnapshot {
            namespace: "agents".into(),
            name: "coder".into(),
            uid: "1".into(),
            service_account: "coder".into(),
            owner: None,
            state,
            reason: String::new(),
            api_connections,
        };
        Arc::new(Snapshot {
            pods: vec![pod],
            problems: Vec::new(),
        })
    }

    /// After the first write at `start`.
    fn written(start: Instant) -> Writing {
        let mut writing = Writing::default();
        see(&mut writing, snapshot(CoverageState::Captured, 1), start);
        assert_eq!(writing.due(), Some(start));
        let next = writing.next().expect("something is new");
        writing.done(next, true, start);
        writing
    }

    fn see(writing: &mut Writing, snapshot: Arc<Snapshot>, now: Instant) {
        writing.see(snapshot, Timestamp::UNIX_EPOCH, now);
    }

    #[test]
    fn a_new_state_is_written_within_seconds_and_whole() {
        let start = Instant::now();
        let mut writing = written(start);
        see(&mut writing, snapshot(CoverageState::Denied, 1), start);
        assert_eq!(writing.due(), Some(start + BETWEEN_CHANGES));
        assert!(matches!(writing.next(), Some(Write::Whole(..))));
    }

    #[test]
    fn more_connections_wait_for_the_renewal() {
        let start = Instant::now();
        let mut writing = written(start);
        see(&mut writing, snapshot(CoverageState::Captured, 2), start);
        assert_eq!(writing.due(), Some(start + RENEWAL));
        assert!(matches!(writing.next(), Some(Write::Whole(..))));
    }

    #[test]
    fn what_has_not_changed_is_renewed_with_its_time_alone() {
        let start = Instant::now();
        let mut writing = written(start);
        see(&mut writing, snapshot(CoverageState::Captured, 1), start);
        assert_eq!(writing.next(), Some(Write::Renewal(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn what_nobody_observes_is_not_renewed() {
        let writing = written(Instant::now());
        assert_eq!(writing.due(), None);
        assert_eq!(writing.next(), None);
    }

    #[test]
    fn a_failed_write_is_repeated_whole_and_without_haste() {
        let start = Instant::now();
        let mut writing = written(start);
        see(&mut writing, snapshot(CoverageState::Captured, 1), start);
        let next = writing.next().expect("a renewal");
        writing.done(next, false, start);
        assert_eq!(writing.due(), Some(start + RENEWAL));
        assert!(matches!(writing.next(), Some(Write::Whole(..))));
    }
}
