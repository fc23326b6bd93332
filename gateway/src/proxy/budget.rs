//! The bytes that all buffered bodies together may take.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for room before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// Permits are counted in KiB: a semaphore counts in `u32` at a time.
const UNIT: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct ByteBudget {
    kibibytes: Arc<Semaphore>,
}

/// Room for some bytes, given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT
    }

    /// Takes in the room that `more` has.
    pub(super) fn join(&mut self, more: Self) {
        self.permit.merge(more.permit);
    }
}

impl ByteBudget {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            kibibytes: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Waits for room, in order of arrival. `None` where there was none in time.
    pub(super) async fn take(&self, bytes: usize) -> Option<Room> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let acquired = tokio::time::timeout(
            PATIENCE,
            Arc::clone(&self.kibibytes).acquire_many_owned(units),
        );
        let permit = acquired.await.ok()?.ok()?;
        Some(Room { permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn room_is_refused_when_the_budget_is_spent_and_returns_on_drop() {
        let budget = ByteBudget::new(1 << 20);
        let first = budget
            .take(1 << 20)
            .await
            .expect("the whole budget is free");
        assert!(budget.take(1).await.is_none());
        drop(first);
        assert!(budget.take(1 << 20).await.is_some());
    }
}
