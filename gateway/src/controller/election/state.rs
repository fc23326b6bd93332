//! Who leads, as one candidate sees it.
//!
//! Only the candidate's own clock counts, and only for how long ago it saw something happen. What the Lease says of
//! times is compared with what it said before, never with a clock, so a replica whose clock is wrong by a day neither
//! leads for longer nor is overrun.
//!
//! Why there are never two leaders, as long as their clocks run equally fast: a leader counts from before it sent its
//! last renewal, a rival from after it saw that renewal stored, which is later. The leader stops after
//! [`GIVES_UP_AFTER`] and what it was writing is over after [`WRITES_WITHIN`] more; the rival waits for [`LEASE`], which
//! is longer than both.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub(super) const LEASE: Duration = Duration::from_secs(15);
pub(super) const RENEWS_EVERY: Duration = Duration::from_secs(5);
/// How soon a candidate looks again, and a leader tries again what failed.
pub(super) const LOOKS_EVERY: Duration = Duration::from_secs(2);
pub(super) const GIVES_UP_AFTER: Duration = Duration::from_secs(10);
/// The longest that a write of the leader may be under way.
pub(super) const WRITES_WITHIN: Duration = Duration::from_secs(4);

/// A Lease of another configuration may last longer than ours, within reason.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// What the Lease says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Record {
    /// Nobody where empty: the last one has released it.
    pub(super) holder: String,
    /// By the holder's clock: it only tells one renewal from the next.
    pub(super) renewed_at: Option<Timestamp>,
    pub(super) lease_seconds: i32,
    pub(super) transitions: i32,
}

#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    seen: Option<Seen>,
    /// When the last renewal that was stored had been sent.
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    record: Record,
    /// When it was first seen as it is.
    since: Instant,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Write(Record),
    /// Another leads.
    Wait,
}

impl Candidate {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// What the Lease says now; `None` where there is none.
    pub(super) fn see(&mut self, record: Option<Record>, now: Instant) {
        let is_known = match (&self.seen, &record) {
            (Some(seen), Some(record)) => seen.record == *record,
            _ => false,
        };
        if !is_known {
            self.seen = record.map(|record| Seen { record, since: now });
        }
    }

    /// What to write in the place of what was seen.
    pub(super) fn next(&self, at: Timestamp, now: Instant) -> Next {
        let Some(seen) = &self.seen else {
            return Next::Write(self.record(at, 0));
        };
        let Record {
            holder,
            transitions,
            ..
        } = &seen.record;
        if *holder == self.identity {
            Next::Write(self.record(at, *transitions))
        } else if holder.is_empty() || now >= seen.since + seen.record.lease() {
            Next::Write(self.record(at, transitions.saturating_add(1)))
        } else {
            Next::Wait
        }
    }

    fn record(&self, at: Timestamp, transitions: i32) -> Record {
        Record {
            holder: self.identity.clone(),
            renewed_at: Some(at),
            lease_seconds: i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX),
            transitions,
        }
    }

    /// What was written is stored.
    pub(super) fn written(&mut self, record: Record, sent: Instant) {
        self.seen = Some(Seen {
            record,
            since: sent,
        });
        self.renewed = Some(sent);
    }

    /// Until when it leads, unless it renews.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|sent| sent + GIVES_UP_AFTER)
    }

    /// What to write to let another lead at once; nothing where another does already. It does not lead from here on.
    pub(super) fn release(&mut self) -> Option<Record> {
        self.renewed = None;
        let seen = self.seen.take()?.record;
        (seen.holder == self.identity).then(|| Record {
            holder: String::new(),
            ..seen
        })
    }
}

impl Record {
    fn lease(&self) -> Duration {
        let said = u64::try_from(self.lease_seconds).unwrap_or_default();
        Duration::from_secs(said).clamp(LEASE, LONGEST_LEASE)
    }
}

#[cfg(test)]
mod tests;
