//! The log of one gateway: append a record, and it is durable when the call returns.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

pub use self::tail::{FellBehind, Following, MOST_READERS, TooManyReaders, Wanted};
use self::tail::{Reader, Tail};

use crate::{
    audit::{
        canonical,
        record::{BodyState, DecisionKind, Enforcement, Record, Stage},
        ship::Shipper,
        store::{Store, StoreError},
        wal::{
            self, Appended, FileSystem, Headroom, NotRecorded, Options, Payload, Pending, Then,
            Usage, Wal,
        },
    },
    config::{Flush, Recording, WalConfig},
};

mod tail;

/// Appends records. Clones share one log.
#[derive(Clone)]
pub struct Log {
    wal: Wal,
    backlog: watch::Sender<Backlog>,
    flush: Flush,
    tail: Tail,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error("cannot open the write-ahead log")]
    Wal(#[from] wal::OpenError),
    #[error("cannot open the store")]
    Store(#[from] StoreError),
}

/// A record as it is written, but for its sequence.
pub struct Encoded {
    payload: Payload,
    /// What was denied, or people decided on, becomes a file soon.
    urgent: bool,
    /// Who follows it.
    readers: Vec<Arc<Reader>>,
}

/// What was appended since the last cut, and when that should become a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    bytes: u64,
    due: Option<Instant>,
}

impl Log {
    /// Recovers the log and opens the store. Blocks. The shipper must be run, or the log fills up.
    pub fn open(config: &Recording, cluster: &str) -> Result<(Self, Shipper), OpenLogError> {
        let store = Store::open(&config.store, cluster)?;
        let (wal, recovery) = open_wal(&config.wal)?;
        tracing::info!(
            log = recovery.log_id,
            created = recovery.created,
            last_sequence = recovery.last_sequence,
            torn_tail = recovery.torn_tail.is_some(),
            pending_cuts = recovery.pending_cuts.len(),
            "log opened"
        );
        let flush = config.flush.clone();
        let backlog = watch::Sender::new(Backlog::left_by_earlier_process(&recovery));
        let shipper = Shipper::new(wal.clone(), store, backlog.clone());
        Ok((
            Self {
                wal,
                backlog,
                flush,
                tail: Tail::default(),
            },
            shipper,
        ))
    }

    /// The records that are wanted and made from now on, each once it is durable.
    pub fn follow(&self, wanted: Wanted) -> Result<Following, TooManyReaders> {
        self.tail.follow(wanted)
    }

    /// Encodes a record as it will be written. One that fits no segment is kept without its bodies.
    pub fn encode(&self, record: &Record) -> Result<Encoded, NotRecorded> {
        let encoded = self.encode_what_fits(record)?;
        Ok(Encoded {
            readers: self.tail.readers_of(record),
            ..encoded
        })
    }

    fn encode_what_fits(&self, record: &Record) -> Result<Encoded, NotRecorded> {
        let limit = self.most(record.stage);
        let whole = Encoded::new(record, self.log_id());
        if whole.bytes() <= limit {
            return Ok(whole);
        }
        let rest = Encoded::new(&without_bodies(record), self.log_id());
        let size = rest.bytes();
        if size > limit {
            let (size, limit) = (size as u64, limit as u64);
            return Err(NotRecorded::TooLarge { size, limit });
        }
        tracing::warn!(
            audit_id = record.audit_id,
            "a call is recorded without its bodies, which fit no segment; raise recording.wal.segmentSize"
        );
        Ok(rest)
    }

    /// Encodes the record, and returns once it is on disk.
    pub async fn append(&self, record: &Record) -> Result<Appended, NotRecorded> {
        self.commit(self.encode(record)?).await
    }

    /// Returns once the record is on disk.
    pub async fn commit(&self, record: Encoded) -> Result<Appended, NotRecorded> {
        let (bytes, urgent) = (record.bytes() as u64, record.urgent);
        let shown = tail::shown(&record.payload, record.readers);
        let appended = self.wal.append_then(record.payload, shown).await?;
        self.note(bytes, urgent);
        Ok(appended)
    }

    /// Like [`commit`](Self::commit), where the record can be on its way when this returns. Otherwise both are
    /// given back.
    pub fn try_commit(&self, record: Encoded, then: Then) -> Result<Pending, (Encoded, Then)> {
        let bytes = record.bytes() as u64;
        let Encoded {
            payload,
            urgent,
            readers,
        } = record;
        let then = match tail::shown(&payload, readers) {
            Some(shown) => Box::new(move |appended: &_| {
                shown(appended);
                then(appended);
            }),
            None => then,
        };
        match self.wal.try_append(payload, then) {
            Ok(pending) => {
                self.note(bytes, urgent);
                Ok(pending)
            }
            // Who follows it is told by `then`.
            Err((payload, then)) => {
                let readers = Vec::new();
                Err((
                    Encoded {
                        payload,
                        urgent,
                        readers,
                    },
                    then,
                ))
            }
        }
    }

    /// An intent leaves half of what fits to its outcome, which says more. Without bodies that is at most
    /// 450 KiB, the names and digests of 1024 Secrets in a list, and a few KiB for message and decision.
    fn most(&self, stage: Stage) -> usize {
        let largest = self.wal.largest_payload();
        match stage {
            Stage::RequestReceived => largest / 2,
            Stage::ResponseComplete => largest,
        }
    }

    pub fn log_id(&self) -> &str {
        self.wal.log_id()
    }

    /// How full the log is.
    pub fn usage(&self) -> Usage {
        self.wal.usage()
    }

    /// Seals the log once the shipper has drained it; appends are refused from then on.
    pub async fn close(self) {
        self.wal.close().await;
    }

    /// Wakes the shipper only where that changes when it must act.
    fn note(&self, bytes: u64, urgent: bool) {
        let full = self.flush.size.0;
        let delay = if urgent {
            self.flush.urgent_interval.0
        } else {
            self.flush.interval.0
        };
        self.backlog
            .send_if_modified(|backlog| backlog.add(bytes, delay, full));
    }
}

/// The digests stay.
fn without_bodies(record: &Record) -> Record {
    Record {
        request_object: None,
        response_object: None,
        body_state: Some(BodyState::DigestOnly),
        ..record.clone()
    }
}

impl Encoded {
    /// Of what is no agent's call: it takes none of the room that outcomes of calls are sure of, and hurries no file.
    pub fn in_spare_room(mut self) -> Self {
        self.payload.headroom = Headroom::Spare;
        self.urgent = false;
        self
    }

    fn new(record: &Record, log_id: &str) -> Self {
        let (before, after) = canonical::split(record, log_id);
        Self {
            payload: Payload {
                before,
                after,
                headroom: headroom(record),
            },
            urgent: is_refused(record) || record.approval.is_some(),
            readers: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        self.payload.before.len() + self.payload.after.len()
    }
}

/// Where policies are only observed, what they would have denied is traffic as any other.
fn is_refused(record: &Record) -> bool {
    record.decision == Some(DecisionKind::Deny) && record.enforcement == Enforcement::Enforce
}

/// The outcome of a call that was forwarded may use what intents leave: it was forwarded because its intent
/// fitted. Nothing was forwarded of a call that was denied.
fn headroom(record: &Record) -> Headroom {
    let observed = record.enforcement == Enforcement::Observe;
    match (record.stage, record.decision) {
        (Stage::ResponseComplete, Some(DecisionKind::Allow)) => Headroom::Use,
        (Stage::ResponseComplete, Some(_)) if observed => Headroom::Use,
        _ => Headroom::Spare,
    }
}

fn open_wal(config: &WalConfig) -> Result<(Wal, wal::Recovery), wal::OpenError> {
    let options = Options {
        segment_size: config.segment_size.0,
        limit: config.limit.0,
        ..Options::default()
    };
    Wal::open(FileSystem::lock(&config.directory)?, options)
}

impl Backlog {
    /// How much is not cut yet is not known, so it is due at once.
    fn left_by_earlier_process(recovery: &wal::Recovery) -> Self {
        let due = (recovery.last_sequence > 0).then(Instant::now);
        Self { bytes: 0, due }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether this brought the next file nearer.
    fn add(&mut self, bytes: u64, delay: Duration, full: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let now = Instant::now();
        let wanted = if self.bytes >= full { now } else { now + delay };
        let sooner = self.due.is_none_or(|due| wanted < due);
        if sooner {
            self.due = Some(wanted);
        }
        sooner
    }
}

#[cfg(test)]
mod tests;
