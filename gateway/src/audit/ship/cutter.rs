//! When the next file begins.

use std::sync::Arc;

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Retry, Status, reached};
use crate::audit::{log::Backlog, wal::Wal};
use crate::telemetry::causes;

/// Cuts the log as its backlog asks for, whatever becomes of the files.
pub(super) struct Cutter {
    wal: Wal,
    backlog: watch::Sender<Backlog>,
    status: watch::Sender<Status>,
    made: Arc<Notify>,
    retry: Option<Retry>,
}

impl Cutter {
    pub(super) fn new(
        wal: Wal,
        backlog: watch::Sender<Backlog>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            wal,
            backlog,
            status,
            made: Arc::default(),
            retry: None,
        }
    }

    /// Told of every cut.
    pub(super) fn made(&self) -> Arc<Notify> {
        Arc::clone(&self.made)
    }

    /// Cuts until `shutdown`, and then what is left.
    pub(super) async fn run(&mut self, shutdown: &CancellationToken) {
        let mut backlog = self.backlog.subscribe();
        loop {
            let due = earlier(
                backlog.borrow_and_update().due(),
                self.retry.map(|retry| retry.at),
            );
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = reached(due) => self.cut().await,
                changed = backlog.changed() => debug_assert!(changed.is_ok(), "this cutter holds a sender"),
            }
        }
        self.cut().await;
    }

    pub(super) async fn cut(&mut self) {
        self.backlog.send_replace(Backlog::default());
        match self.wal.cut().await {
            Ok(cut) => {
                self.retry = None;
                if cut.is_some() {
                    self.made.notify_one();
                }
            }
            Err(error) => {
                self.retry = Some(Retry::after(self.retry));
                let error = causes(&error);
                tracing::error!(%error, "the log cannot be cut; records wait in it");
                self.status.send_modify(|status| status.failures += 1);
            }
        }
    }
}

fn earlier(left: Option<Instant>, right: Option<Instant>) -> Option<Instant> {
    left.into_iter().chain(right).min()
}
