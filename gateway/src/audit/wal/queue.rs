//! What callers leave for the thread that writes, and what it shows them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    Appended, Cut, Headroom, Options, Payload, error::NotRecorded, segment::Segment, writer::Writer,
};

/// What one request costs beside its payload, so that the number of requests is bounded too.
const REQUEST_COST: usize = 512;

pub(super) type Reply<T> = oneshot::Sender<Result<T, NotRecorded>>;

/// Told the outcome of an append on the log's own thread, whether or not anybody still waits for it.
pub type Then = Box<dyn FnOnce(&Result<Appended, NotRecorded>) + Send>;

/// Who asked for an append.
pub(super) struct Waiting {
    pub(super) reply: Reply<Appended>,
    pub(super) then: Option<Then>,
    /// In the queue, until the append is done.
    pub(super) _room: OwnedSemaphorePermit,
}

pub(super) enum Request {
    Append {
        payload: Payload,
        waiting: Waiting,
    },
    Cut {
        reply: Reply<Option<Cut>>,
        room: OwnedSemaphorePermit,
    },
}

/// How full the log is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Written bytes of unreleased segments.
    pub used: u64,
    pub limit: u64,
    /// Records that begin something are refused from here on: 95 % of the limit.
    pub refuse_at: u64,
    /// At 70 % of the limit.
    pub warning: bool,
    /// The last commit failed: nothing is acknowledged until one succeeds.
    pub failing: bool,
    pub last_sequence: u64,
    /// Writes since the start that ended in one `fdatasync` each.
    pub commits: u64,
    /// Bytes of records in no released cut, and the time of the oldest.
    pub unreleased_bytes: u64,
    pub oldest_unreleased_at_micros: Option<u64>,
    /// Bytes of records in no cut at all, and the time of the oldest.
    pub uncut_bytes: u64,
    pub oldest_uncut_at_micros: Option<u64>,
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    bytes: Arc<Semaphore>,
    capacity: usize,
    limit: u64,
    warn_at: u64,
    refuse_at: u64,
}

#[derive(Default)]
struct State {
    /// Bounded by the permits that the requests hold.
    requests: VecDeque<Request>,
    release: u64,
    release_is_new: bool,
    closed: bool,
    /// The thread waits to be woken.
    sleeping: bool,
    /// As of the last commit.
    usage: Usage,
    pending: Vec<Cut>,
    segments: Vec<Segment>,
}

impl Queue {
    pub(super) fn new(options: &Options) -> Self {
        let capacity = options.queue_bytes.clamp(REQUEST_COST, u32::MAX as usize);
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            bytes: Arc::new(Semaphore::new(capacity)),
            capacity,
            limit: options.limit,
            warn_at: options.warn_at(),
            refuse_at: options.refuse_at(Headroom::Spare),
        }
    }

    /// Every update of the state is complete before anything can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a payload of this size may queue.
    pub(super) async fn room(&self, payload: usize) -> Result<OwnedSemaphorePermit, NotRecorded> {
        let cost = (payload + REQUEST_COST).min(self.capacity) as u32;
        Arc::clone(&self.bytes)
            .acquire_many_owned(cost)
            .await
            .map_err(|_| NotRecorded::Closed)
    }

    /// Room for a payload of this size, where nobody has to wait for it.
    pub(super) fn room_now(&self, payload: usize) -> Option<OwnedSemaphorePermit> {
        let cost = (payload + REQUEST_COST).min(self.capacity) as u32;
        Arc::clone(&self.bytes).try_acquire_many_owned(cost).ok()
    }

    pub(super) fn push(&self, request: Request) -> Result<(), NotRecorded> {
        let mut state = self.state();
        if state.closed {
            return Err(NotRecorded::Closed);
        }
        state.requests.push_back(request);
        self.wake(&mut state);
        Ok(())
    }

    pub(super) fn release(&self, through: u64) -> Result<(), NotRecorded> {
        let mut state = self.state();
        if state.closed {
            return Err(NotRecorded::Closed);
        }
        state.release = state.release.max(through);
        state.release_is_new = true;
        self.wake(&mut state);
        Ok(())
    }

    /// How many wait.
    pub(super) fn length(&self) -> usize {
        self.state().requests.len()
    }

    /// A system call, and most of the time the thread is at work and looks at the queue anyway.
    fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.sleeping) {
            self.wake.notify_one();
        }
    }

    pub(super) fn pending_cuts(&self) -> Vec<Cut> {
        let state = self.state();
        state
            .pending
            .iter()
            .copied()
            .filter(|cut| cut.last > state.release)
            .collect()
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        self.state().segments.clone()
    }

    pub(super) fn usage(&self) -> Usage {
        self.state().usage.clone()
    }

    /// Lets the thread end when it has served what is queued.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.bytes.close();
        self.wake(&mut state);
    }

    /// Refuses everyone who still waits.
    pub(super) fn clear(&self) {
        self.state().requests.clear();
    }

    /// All that queued since the last call, and up to where to release; `None` at the end.
    pub(super) fn take(&self) -> Option<(VecDeque<Request>, u64)> {
        let idle = |state: &mut State| {
            state.sleeping = state.requests.is_empty() && !state.release_is_new && !state.closed;
            state.sleeping
        };
        let mut state = self
            .wake
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.requests.is_empty() && !state.release_is_new {
            return None;
        }
        state.release_is_new = false;
        Some((std::mem::take(&mut state.requests), state.release))
    }

    /// Shows the callers where the log stands, before they get their answers.
    pub(super) fn publish(&self, writer: &Writer, failing: bool) {
        let (ledger, used) = (writer.ledger(), writer.used());
        let (unreleased, uncut) = (ledger.unreleased(), ledger.uncut);
        let usage = Usage {
            used,
            limit: self.limit,
            refuse_at: self.refuse_at,
            warning: used >= self.warn_at,
            failing,
            last_sequence: ledger.last(),
            commits: writer.commits,
            unreleased_bytes: unreleased.bytes,
            oldest_unreleased_at_micros: unreleased.since_micros,
            uncut_bytes: uncut.bytes,
            oldest_uncut_at_micros: uncut.since_micros,
        };
        let mut state = self.state();
        log_change(&state.usage, &usage);
        state.usage = usage;
        state.pending = ledger.pending.iter().map(|(cut, _)| *cut).collect();
        state.segments = writer.segments();
    }
}

fn log_change(before: &Usage, now: &Usage) {
    if now.warning && !before.warning {
        tracing::warn!(
            used = now.used,
            limit = now.limit,
            "the write-ahead log fills up: calls are refused at 95 %"
        );
    }
    if now.failing && !before.failing {
        tracing::error!("the write-ahead log cannot be written: calls are refused until it can");
    }
    if before.failing && !now.failing {
        tracing::info!("the write-ahead log can be written again");
    }
}
