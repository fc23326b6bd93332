//! The write-ahead log: the place where a call becomes evidence before it may happen.
//!
//! # What it promises
//!
//! 1. **Acknowledged ≤ recovered ≤ written.** A record whose [`Wal::append`] returned `Ok` is found
//!    after any crash; what is found was appended, byte for byte, in order, with sequences 1, 2, 3 …
//!    without a gap; once a later record is acknowledged, one that was refused never appears.
//! 2. **A refusal is definite.** [`NotRecorded`] means that the call must not go on. A refused
//!    record can be found after a crash only if nothing was acknowledged after it: an intent without
//!    an outcome, which is the truth. Whoever drops the future of an append has not withdrawn it.
//! 3. **Damage is not mistaken for a crash.** A torn tail is cut silently; a record that is missing
//!    although something later proves that it was durable is [`OpenError::Corrupt`], and nothing is
//!    repaired over it. After [`Wal::close`] everything is so proven; after a crash everything but
//!    the last commit.
//! 4. **A failing disk stops calls, not the process.** Every failure is an answer to the callers
//!    that wait, and the next record tries again, on a new segment.
//!
//! Assumed of the disk: a sector of 512 bytes is written whole or not at all; what was synced stays.
//!
//! # The directory
//!
//! ```text
//! lock                        held by the one process that writes
//! <generation, 20 digits>.wal a segment with records
//! <number, 20 digits>.spare   a file of zeros, or an old segment, waiting to be the next one
//! ```
//!
//! One counter numbers both, and a rename gives a file a higher number. So no frame is of a generation
//! above its file's number, and one above all numbers was never used, not even by a failed attempt.
//!
//! Spares are filled with zeros between commits, so a commit changes neither length nor extents of
//! its file. Segments whose records are all released are renamed to spares; those that are short, or
//! too many, go. The newest segment stays: it knows the log's id and the next sequence.
//!
//! # A segment
//!
//! All numbers are little endian. The header is a page of its own and is never rewritten:
//!
//! ```text
//!    0  8  "SALLYWAL"
//!    8  4  version, 1
//!   12  4  length of the log id, at most 64
//!   16  8  generation
//!   24  8  first       sequence of the first record here; earlier segments end before it
//!   32  8  cutThrough  last record of the last cut
//!   40  8  released    last record of the last released cut
//!   48  8  time        of the last append, µs since the epoch
//!   56  …  log id, then zeros
//! 4092  4  CRC32C of bytes 0 to 4091
//! 4096  …  frames
//! ```
//!
//! A frame begins at a multiple of 8:
//!
//! ```text
//!    0  4  CRC32C of: log id, generation (8), offset of the frame in the segment (8), bytes 4 to end
//!    4  4  length of the payload
//!    8  1  kind: 1 record, 2 cut, 3 release, 4 seal
//!    9  3  "SPF"
//!   12  8  sequence    of the record; of the last record before a mark
//!   20  8  synced      this segment was durable up to this offset when the frame was written
//!   28  8  time        µs since the epoch, never less than in the frame before
//!   36  …  payload, then zeros to a multiple of 8
//! ```
//!
//! Payloads: a record's bytes; a cut's first and last sequence; a release's last sequence; none for
//! the seal, the trailer behind the last frame of a segment that was closed in order.
//!
//! The checksum holds for one frame at one place in one life of one file: neither a recycled
//! segment's old frames nor a misdirected write can pass for a frame. `synced` is an offset rather
//! than a sequence because it then proves marks as well as records.
//!
//! # Writing
//!
//! One thread writes. It takes all that queued while the last sync ran, writes it with one call,
//! syncs once and answers everyone. Where more than a few came at once it pauses while more come, for
//! up to 800 µs, so that those who were answered share the next commit; four or fewer are
//! never held back. The queue is bounded in bytes, in flight included; a caller waits for room.
//!
//! A segment begins when a spare gets its header, is synced, is renamed, and the directory is
//! synced, in this order and before its first frame. So a `.wal` file without a valid header is
//! damage, never half made.
//!
//! **After a failed sync** the kernel has dropped the dirty pages and the next sync succeeds without
//! them, so there is no second try: the segment is *poisoned*, never written again. Callers of that
//! commit are refused, and nothing is acknowledged until the first sync of a new segment succeeds.
//! That segment's `first` is the sequence which failed: it ends the poisoned one, whatever its disk
//! blocks hold. The same goes for a failed write, and for a disk without space.
//!
//! The last bytes of a segment are kept for marks unless a spare is ready: a cut can be made on a full
//! disk too, shipped and released, which makes room again.
//!
//! # Cuts and releases
//!
//! A cut is a durable mark: the records since the last one become one Parquet file, the same one
//! after every crash. A release is a durable mark that a file is in the store; it rides on the
//! writer thread and is tried again until it succeeds. Only then are segments recycled, so a log
//! whose oldest segments are missing without a release is damaged.
//!
//! # Recovery
//!
//! Segments are read by generation, frames up to the first mismatch: a bad checksum, or a frame
//! that does not follow.
//!
//! - A segment with a successor ends where the successor's header says: later frames are a failed
//!   commit's and do not count; earlier ones that are missing are damage, unless they are released.
//! - In the newest segment the rest is searched for valid frames. If one, or one before the
//!   mismatch, has `synced` beyond the mismatch, what should be there was durable: damage.
//!   Otherwise it is a torn tail, whose frames were never acknowledged.
//! - The frames of the newest segment that nothing proves durable are written again and synced,
//!   then the trailer, before anyone is told of them. They may sit in the page cache only, even in
//!   clean pages after a failed sync, and a second crash must not find less than the first. It is
//!   then cut to its length, and writing goes on in a new segment; so a crash loop uses little room,
//!   and stale frames behind a torn tail meet no new ones.
//!
//! # Limits
//!
//! `used` counts the written bytes of unreleased segments. There is a warning at 70 % of the limit;
//! records that begin something are refused at 95 % and those that end it at 100 %, so that what was
//! let through on the strength of its first record finds room for its last ([`Headroom`]); marks
//! are always taken. The directory itself can hold a segment's unwritten rest and up to four spares
//! more.
//!
//! What remains: more can be under way at 95 % than fits the last 5 %, and a disk can be full long
//! before. Then an outcome is refused too, and its answer is withheld.
//!
//! # What proves this
//!
//! The tests run the writer on a disk in memory that loses, tears and reorders what was not synced,
//! forgets directory entries, drops pages on failed syncs and fails at every single call. A killed
//! process proves nothing here: the page cache survives it, and a log without any sync at all loses
//! no record to SIGKILL.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

mod active;
mod error;
mod frame;
mod ledger;
mod open;
mod options;
mod queue;
mod reader;
mod recover;
mod scan;
mod segment;
mod spare;
mod storage;
mod tail;
mod thread;
mod writer;

pub use self::{
    error::{Corruption, NotRecorded, OpenError, ReadError},
    options::Options,
    queue::{Then, Usage},
    reader::Range,
    scan::{Scan, scan},
    storage::{File, FileSystem, Storage},
};
use self::{
    queue::{Queue, Reply, Request, Waiting},
    thread::Owner,
    writer::Writer,
};

/// A record around its sequence, which only the log knows: stored is before, decimal sequence, after.
#[derive(Clone, Default)]
pub struct Payload {
    pub before: Bytes,
    pub after: Bytes,
    pub headroom: Headroom,
}

/// What a record does with the last 5 % of the log's limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Headroom {
    /// It begins something, which can still be refused.
    #[default]
    Spare,
    /// It ends something that has happened.
    Use,
}

/// An append that is on its way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Appended, NotRecorded>>);

impl Future for Pending {
    type Output = Result<Appended, NotRecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(NotRecorded::Closed)))
    }
}

/// A record became durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    pub sequence: u64,
    pub appended_at_micros: u64,
    /// What it takes of the log.
    pub bytes: u64,
}

/// The records of one Parquet file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Cut {
    pub first: u64,
    pub last: u64,
}

/// A record read back.
#[derive(Clone, Eq, PartialEq)]
pub struct Frame {
    pub sequence: u64,
    pub appended_at_micros: u64,
    pub payload: Bytes,
}

/// What opening the log found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovery {
    pub log_id: String,
    /// There was no log.
    pub created: bool,
    /// Zero if there is no record.
    pub last_sequence: u64,
    /// Frames of an unfinished commit that were cut off.
    pub torn_tail: Option<TornTail>,
    /// Cuts to be shipped, oldest first.
    pub pending_cuts: Vec<Cut>,
}

/// Where the newest segment's valid frames ended and how many stray ones were behind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TornTail {
    pub segment: String,
    pub offset: u64,
    pub frames: u64,
}

/// A handle on the log; clones share it. Its thread ends with the last one, or when any is closed.
#[derive(Clone)]
pub struct Wal {
    log_id: Arc<str>,
    largest_payload: usize,
    storage: Arc<dyn Storage>,
    queue: Arc<Queue>,
    owner: Arc<Owner>,
}

impl Wal {
    /// Recovers the log in `storage` or starts one, and the thread that writes it. Blocks.
    pub fn open(storage: impl Storage, options: Options) -> Result<(Self, Recovery), OpenError> {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let queue = Arc::new(Queue::new(&options));
        let (writer, recovery) = Writer::open(Arc::clone(&storage), options, thread::now_micros())?;
        let log_id = writer.log_id().into();
        let largest_payload = writer.options.largest_payload();
        let owner = Arc::new(Owner::start(Arc::clone(&queue), writer)?);
        Ok((
            Self {
                log_id,
                largest_payload,
                storage,
                queue,
                owner,
            },
            recovery,
        ))
    }

    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// Longer ones are refused as [`NotRecorded::TooLarge`].
    pub fn largest_payload(&self) -> usize {
        self.largest_payload
    }

    /// Returns when the record is durable. Waits for room in the queue.
    pub async fn append(&self, payload: Payload) -> Result<Appended, NotRecorded> {
        self.append_then(payload, None).await
    }

    /// Likewise, and tells `then` of the outcome, whether or not the caller still waits for it.
    pub async fn append_then(
        &self,
        payload: Payload,
        then: Option<Then>,
    ) -> Result<Appended, NotRecorded> {
        let length = payload.before.len() + payload.after.len();
        let room = self.queue.room(length).await?;
        self.ask(|reply| Request::Append {
            payload,
            waiting: Waiting {
                reply,
                then,
                _room: room,
            },
        })
        .await
    }

    /// Like [`append`](Self::append) where the queue has room at once: the record is on its way when this returns,
    /// and nobody has to wait for that. Otherwise both are given back.
    pub fn try_append(&self, payload: Payload, then: Then) -> Result<Pending, (Payload, Then)> {
        let length = payload.before.len() + payload.after.len();
        let Some(room) = self.queue.room_now(length) else {
            return Err((payload, then));
        };
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            reply,
            then: Some(then),
            _room: room,
        };
        // A closed log drops the request, and its answer says so.
        let _closed = self.queue.push(Request::Append { payload, waiting });
        Ok(Pending(answer))
    }

    /// Makes a durable mark behind the last record; `None` if there is none since the last cut.
    pub async fn cut(&self) -> Result<Option<Cut>, NotRecorded> {
        let room = self.queue.room(0).await?;
        self.ask(|reply| Request::Cut { reply, room }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, NotRecorded> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(request(reply))?;
        answer.await.unwrap_or(Err(NotRecorded::Closed))
    }

    /// Cuts that are not released, oldest first.
    pub fn pending_cuts(&self) -> Vec<Cut> {
        self.queue.pending_cuts()
    }

    /// The records of a pending cut, in order; blocks on reads. After an error it ends.
    pub fn range(&self, cut: Cut) -> Result<Range, ReadError> {
        Range::new(Arc::clone(&self.storage), self.queue.segments(), cut)
    }

    /// Gives up all cuts that end at or before `through`: they are in the store. The writer makes
    /// this durable with its next commit and repeats it until that succeeds.
    pub fn release(&self, through: u64) -> Result<(), NotRecorded> {
        self.queue.release(through)
    }

    pub fn usage(&self) -> Usage {
        self.queue.usage()
    }

    /// Commits what is queued, seals the log and ends its thread. Later calls get `Closed`.
    pub async fn close(self) {
        self.owner.join().await;
    }
}

#[cfg(test)]
mod tests;
