//! Going down in order: stop accepting, let calls in flight finish, then end what is left.

use std::time::Duration;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Held by the one who decides that the process goes down.
#[derive(Debug)]
pub struct DrainTrigger {
    signal: CancellationToken,
    work: TaskTracker,
}

/// Held by everything that must finish first. The drain waits until every clone is dropped.
#[derive(Clone, Debug)]
pub struct DrainWatcher {
    signal: CancellationToken,
    _work: TaskTrackerToken,
}

/// Work was still going on when the time was over.
#[derive(Debug, thiserror::Error)]
#[error("work was still in flight after {} s", limit.as_secs())]
pub struct StillBusy {
    limit: Duration,
}

pub fn channel() -> (DrainTrigger, DrainWatcher) {
    let signal = CancellationToken::new();
    let work = TaskTracker::new();
    let watcher = DrainWatcher {
        signal: signal.clone(),
        _work: work.token(),
    };
    (DrainTrigger { signal, work }, watcher)
}

impl DrainTrigger {
    /// Tells every watcher, then waits for all of them, at most `limit`.
    pub async fn drain(self, limit: Duration) -> Result<(), StillBusy> {
        self.signal.cancel();
        self.work.close();
        tokio::time::timeout(limit, self.work.wait())
            .await
            .map_err(|_| StillBusy { limit })
    }
}

impl DrainWatcher {
    /// Resolves when the drain begins.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.signal.clone().cancelled_owned()
    }

    /// A drain behind this one: who watches it holds up this one too, but is told only when the caller says so.
    pub fn behind(&self) -> (CancellationToken, Self) {
        let signal = CancellationToken::new();
        let watcher = Self {
            signal: signal.clone(),
            _work: self._work.clone(),
        };
        (signal, watcher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_drain_waits_for_the_last_watcher() {
        let (trigger, watcher) = channel();
        let work = tokio::spawn(async move {
            watcher.draining().await;
            drop(watcher);
        });
        trigger
            .drain(Duration::from_secs(5))
            .await
            .expect("the only watcher is dropped");
        work.await.expect("the task ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_stays_is_reported() {
        let (trigger, _watcher) = channel();
        let error = trigger
            .drain(Duration::from_secs(5))
            .await
            .expect_err("a watcher is still held");
        assert_eq!(error.to_string(), "work was still in flight after 5 s");
    }
}
