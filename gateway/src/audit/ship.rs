//! Recorded ranges become files: cut, encode, store, and only then release from the log.
//!
//! A cut is in the log before it is encoded, so a crash at any point ends in the same file. Cutting goes on
//! while the store is down, so that no file grows beyond what is cut at once; the log is the backlog. One
//! file at a time is encoded, oldest first, and kept until the store has it. Ranges are released in order,
//! because the log frees space from its front: one that cannot become a file keeps what comes after it in
//! the log too, but not from the store.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{cutter::Cutter, forecast::Forecast, uploads::Uploads};
use crate::audit::{log::Backlog, store::Store, wal::Wal};

mod cutter;
mod forecast;
mod uploads;

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A full log refuses calls until the store has taken a file, so it is not kept waiting for long.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// How long a store may keep the process from ending. What it has not taken by then stays in the log.
const LAST_CHANCE: Duration = Duration::from_secs(20);

/// How often the log's size is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Turns the log into files in the background. Made by [`Log::open`](super::log::Log::open).
pub struct Shipper {
    wal: Wal,
    cutter: Cutter,
    uploads: Uploads,
    status: watch::Sender<Status>,
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
    /// When the log is full if it goes on as in the last minutes; `None` while it does not grow.
    pub full_in: Option<Duration>,
}

impl Shipper {
    pub(super) fn new(wal: Wal, store: Store, backlog: watch::Sender<Backlog>) -> Self {
        let status = watch::Sender::default();
        Self {
            cutter: Cutter::new(wal.clone(), backlog, status.clone()),
            uploads: Uploads::new(wal.clone(), store, status.clone()),
            wal,
            status,
        }
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Ships until `shutdown`, and then what is left, for a while.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            wal,
            mut cutter,
            mut uploads,
            status,
        } = self;
        let made = cutter.made();
        let all_cut = CancellationToken::new();
        let work = async {
            let cut = async {
                cutter.run(&shutdown).await;
                all_cut.cancel();
            };
            tokio::join!(cut, uploads.run(&made, &all_cut))
        };
        tokio::select! {
            ((), ()) = work => {}
            () = foresee(&wal, &status) => {}
            () = last_chance(&shutdown) => tracing::warn!(
                "the store has not taken everything; the rest stays in the write-ahead log until the next start"
            ),
        }
    }

    /// Cuts what was appended, and makes a file of every range that has none yet.
    #[cfg(test)]
    async fn ship(&mut self) {
        self.cutter.cut().await;
        self.uploads.store_pending().await;
    }
}

async fn last_chance(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    sleep(LAST_CHANCE).await;
}

async fn foresee(wal: &Wal, status: &watch::Sender<Status>) {
    let mut forecast = Forecast::default();
    loop {
        let full_in = forecast.look(Instant::now(), &wal.usage());
        status
            .send_if_modified(|status| std::mem::replace(&mut status.full_in, full_in) != full_in);
        sleep(LOOK).await;
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    delay: Duration,
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

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
