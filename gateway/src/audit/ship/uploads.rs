//! From cuts to files in the store, oldest first, one at a time.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Retry, Status, reached};
use crate::audit::{
    parquet::{EncodeError, Encoder, Range},
    store::{Store, StoreError},
    wal::{Cut, NotRecorded, ReadError, Wal},
};
use crate::telemetry::causes;

pub(super) struct Uploads {
    pub(super) wal: Wal,
    pub(super) store: Store,
    status: watch::Sender<Status>,
    /// First sequences of cuts that are stored but wait for an earlier one.
    stored: BTreeSet<u64>,
    /// The file that the store did not take, so that trying again costs no encoding.
    held: Option<EncodedFile>,
    pub(super) retry: Option<Retry>,
}

/// One cut as a file, not yet in the store.
#[derive(Clone)]
pub(super) struct EncodedFile {
    cut: Cut,
    pub(super) range: Range,
    pub(super) first_appended: Timestamp,
    pub(super) bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
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
pub(super) enum FileError {
    #[error("cannot read them back")]
    Read(#[from] ReadError),
    #[error("cannot encode them")]
    Encode(#[from] EncodeError),
    #[error("cannot store them")]
    Store(#[from] StoreError),
    #[error("encoding panicked; the log keeps them")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Uploads {
    pub(super) fn new(wal: Wal, store: Store, status: watch::Sender<Status>) -> Self {
        Self {
            wal,
            store,
            status,
            stored: BTreeSet::new(),
            held: None,
            retry: None,
        }
    }

    /// Stores what an earlier process left and what is cut, until `all_cut`, and then what is left.
    pub(super) async fn run(&mut self, made: &Notify, all_cut: &CancellationToken) {
        loop {
            self.store_pending().await;
            tokio::select! {
                biased;
                () = all_cut.cancelled() => break,
                () = made.notified(), if self.retry.is_none() => {}
                () = reached(self.retry.map(|retry| retry.at)) => {}
            }
        }
        self.store_pending().await;
    }

    /// Makes a file of every cut that has none yet.
    pub(super) async fn store_pending(&mut self) {
        let outcome = self.store_all().await;
        self.retry = outcome.as_ref().err().map(|_| Retry::after(self.retry));
        self.report(outcome);
    }

    /// Ends at the first error that would meet every other file too. One that is of a single file is
    /// returned, but the others are tried all the same.
    async fn store_all(&mut self) -> Result<(), ShipError> {
        let mut outcome = Ok(());
        let mut tried = 0;
        while let Some(cut) = self.next_after(tried) {
            tried = cut.last;
            match self.upload(cut).await {
                Ok(()) => {
                    let released = self.release();
                    outcome = outcome.and(released);
                }
                Err(source) => {
                    let ends = source.is_of_the_store();
                    outcome = outcome.and(Err(ShipError::File { cut, source }));
                    if ends {
                        break;
                    }
                }
            }
        }
        let released = self.release();
        outcome.and(released)
    }

    fn next_after(&self, tried: u64) -> Option<Cut> {
        let mut waiting = self.waiting().into_iter();
        waiting.find(|cut| cut.first > tried)
    }

    /// Cuts that have no file yet, oldest first.
    fn waiting(&self) -> Vec<Cut> {
        let mut pending = self.wal.pending_cuts();
        pending.retain(|cut| !self.stored.contains(&cut.first));
        pending
    }

    async fn upload(&mut self, cut: Cut) -> Result<(), FileError> {
        let file = self.encoded(cut).await?;
        let put = self
            .store
            .put(&file.range, file.first_appended, file.bytes.clone());
        match put.await {
            Ok(location) => {
                tracing::debug!(
                    first = cut.first,
                    last = cut.last,
                    location,
                    "records stored"
                );
            }
            Err(error) if error.is_of_one_file() => return Err(error.into()),
            Err(error) => {
                self.held = Some(file);
                return Err(error.into());
            }
        }
        self.stored.insert(cut.first);
        let waiting = self.waiting().len();
        self.status.send_modify(|status| {
            status.files_written += 1;
            status.pending_cuts = waiting;
        });
        Ok(())
    }

    async fn encoded(&mut self, cut: Cut) -> Result<EncodedFile, FileError> {
        if let Some(file) = self.held.take_if(|file| file.cut == cut) {
            return Ok(file);
        }
        self.held = None;
        let wal = self.wal.clone();
        tokio::task::spawn_blocking(move || encode(&wal, cut)).await?
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
        let waiting = self.waiting().len();
        let error = outcome.err().map(|error| causes(&error));
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

impl FileError {
    fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Store(error) if !error.is_of_one_file())
    }
}

/// Reads a range back from the log and makes its file.
pub(super) fn encode(wal: &Wal, cut: Cut) -> Result<EncodedFile, FileError> {
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
    Ok(EncodedFile {
        cut,
        range,
        first_appended: timestamp(first_appended.unwrap_or_default()),
        bytes: encoder.finish()?.into(),
    })
}

fn timestamp(micros: u64) -> Timestamp {
    let time = i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    time.unwrap_or(Timestamp::MAX)
}
