//! Recorded ranges become files: cut, encode, store, and only then release from the log.
//!
//! A cut is in the log before it is encoded, so a crash at any point ends in the same file. Ranges are
//! released in order, because the log frees space from its front: one that cannot become a file keeps what
//! comes after it in the log too, but not from the store.

use std::{collections::BTreeSet, error::Error, path::PathBuf, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::audit::{
    log::Backlog,
    parquet::{EncodeError, Encoder, Range},
    store::{Store, StoreError},
    wal::{Cut, NotRecorded, ReadError, Wal},
};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A full log refuses calls until the store has taken a file, so it is not kept waiting for long.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Turns the log into files in the background. Made by [`Log::open`](super::log::Log::open).
pub struct Shipper {
    wal: Wal,
    store: Store,
    backlog: watch::Sender<Backlog>,
    status: watch::Sender<Status>,
    /// First sequences of cuts that are stored but wait for an earlier one.
    stored: BTreeSet<u64>,
    retry: Option<Retry>,
}

/// For metrics and readiness.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Ranges that are cut but not yet in the store.
    pub pending_cuts: usize,
    pub files_written: u64,
    pub failures: u64,
    /// Of the last attempt; `None` once everything is in the store.
    pub last_error: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    delay: Duration,
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("the log cannot be cut")]
    Cut(#[source] NotRecorded),
    #[error("the log cannot let go of what is stored")]
    Release(#[source] NotRecorded),
    #[error("records {} to {} cannot become a file", cut.first, cut.last)]
    File {
        cut: Cut,
        #[source]
        source: FileError,
    },
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read them back")]
    Read(#[from] ReadError),
    #[error("cannot encode them")]
    Encode(#[from] EncodeError),
    #[error("cannot store them")]
    Store(#[from] StoreError),
    #[error("encoding panicked; the log keeps them")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Shipper {
    pub(super) fn new(wal: Wal, store: Store, backlog: watch::Sender<Backlog>) -> Self {
        Self {
            wal,
            store,
            backlog,
            status: watch::Sender::default(),
            stored: BTreeSet::new(),
            retry: None,
        }
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Ships until `shutdown`, and then what is left.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backlog = self.backlog.subscribe();
        loop {
            let due = earlier(
                backlog.borrow_and_update().due(),
                self.retry.map(|retry| retry.at),
            );
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = reached(due) => self.ship().await,
                changed = backlog.changed() => debug_assert!(changed.is_ok(), "this shipper holds a sender"),
            }
        }
        self.ship().await;
    }

    /// Cuts what was appended, and makes a file of every range that has none yet.
    pub(super) async fn ship(&mut self) {
        let outcome = self.cut_and_store().await;
        self.retry = outcome.as_ref().err().map(|_| Retry::after(self.retry));
        self.report(outcome);
    }

    /// The first error is returned, but the other ranges are tried all the same.
    async fn cut_and_store(&mut self) -> Result<(), ShipError> {
        self.backlog.send_replace(Backlog::default());
        let mut outcome = self.wal.cut().await.map(drop).map_err(ShipError::Cut);
        for cut in self.wal.pending_cuts() {
            if self.stored.contains(&cut.first) {
                continue;
            }
            let stored = self
                .store(cut)
                .await
                .map_err(|source| ShipError::File { cut, source });
            outcome = outcome.and(stored);
        }
        let released = self.release();
        outcome.and(released)
    }

    async fn store(&mut self, cut: Cut) -> Result<(), FileError> {
        let (wal, store) = (self.wal.clone(), self.store.clone());
        let path = tokio::task::spawn_blocking(move || write_file(&wal, &store, cut)).await??;
        tracing::debug!(first = cut.first, last = cut.last, path = %path.display(), "records stored");
        self.stored.insert(cut.first);
        self.status.send_modify(|status| status.files_written += 1);
        Ok(())
    }

    fn release(&mut self) -> Result<(), ShipError> {
        let pending = self.wal.pending_cuts();
        let done = pending
            .iter()
            .take_while(|cut| self.stored.contains(&cut.first));
        let Some(through) = done.last().map(|cut| cut.last) else {
            return Ok(());
        };
        self.wal.release(through).map_err(ShipError::Release)?;
        self.stored = self.stored.split_off(&(through + 1));
        Ok(())
    }

    fn report(&self, outcome: Result<(), ShipError>) {
        let waiting = self
            .wal
            .pending_cuts()
            .iter()
            .filter(|cut| !self.stored.contains(&cut.first))
            .count();
        let error = outcome.err().map(|error| chain(&error));
        if let Some(error) = &error {
            tracing::error!(%error, pending_cuts = waiting, "records wait in the log until they can be stored");
        }
        self.status.send_modify(|status| {
            status.pending_cuts = waiting;
            status.failures += u64::from(error.is_some());
            status.last_error = error;
        });
    }
}

impl Retry {
    fn after(earlier: Option<Self>) -> Self {
        let delay = earlier.map_or(FIRST_RETRY, |earlier| LAST_RETRY.min(earlier.delay * 2));
        Self {
            at: Instant::now() + delay,
            delay,
        }
    }
}

/// Reads a range back from the log and makes its file.
fn write_file(wal: &Wal, store: &Store, cut: Cut) -> Result<PathBuf, FileError> {
    let range = Range {
        log_id: wal.log_id().to_owned(),
        first: cut.first,
        last: cut.last,
    };
    let mut encoder = Encoder::new(range.clone())?;
    let mut first_appended = None;
    for frame in wal.range(cut)? {
        let frame = frame?;
        first_appended.get_or_insert(frame.appended_at_micros);
        encoder.add(frame.sequence, &frame.payload)?;
    }
    let bytes = encoder.finish()?;
    Ok(store.put(
        &range,
        timestamp(first_appended.unwrap_or_default()),
        &bytes,
    )?)
}

fn timestamp(micros: u64) -> Timestamp {
    let time = i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    time.unwrap_or(Timestamp::MAX)
}

fn earlier(left: Option<Instant>, right: Option<Instant>) -> Option<Instant> {
    left.into_iter().chain(right).min()
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
