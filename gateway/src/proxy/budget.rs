//! The bytes that buffered bodies may take: all together, and those of one principal.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// How long a request waits for room before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// Permits are counted in KiB: a semaphore counts in `u32` at a time.
const UNIT: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct ByteBudget {
    kibibytes: Arc<Semaphore>,
}

/// A part of a budget that one principal may use.
#[derive(Debug)]
pub(super) struct Share {
    own: ByteBudget,
    /// What it has together with the principals of its tenant.
    tenants: ByteBudget,
    of: ByteBudget,
}

/// Room for some bytes, given back on drop.
#[derive(Debug)]
pub(super) struct Room([OwnedSemaphorePermit; 3]);

/// There was no room in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoRoom {
    /// The principal's own bodies take all of its share.
    InShare,
    /// Those of its tenant's principals take all of theirs.
    OfTenant,
    /// Everybody's together take all there is.
    AtAll,
}

impl ByteBudget {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            kibibytes: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    pub(super) fn share(&self, bytes: u64, tenants: &Self) -> Share {
        Share {
            own: Self::new(bytes),
            tenants: tenants.clone(),
            of: self.clone(),
        }
    }

    /// Waits for room, in order of arrival. `None` where there was none in time.
    async fn take(&self, bytes: usize, until: Instant) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let acquired = Arc::clone(&self.kibibytes).acquire_many_owned(units);
        timeout_at(until, acquired).await.ok()?.ok()
    }

    fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.kibibytes)
            .try_acquire_many_owned(units)
            .ok()
    }
}

impl Share {
    /// The share first: who waits for its own earlier bodies keeps nobody else waiting.
    pub(super) async fn take(&self, bytes: usize) -> Result<Room, NoRoom> {
        let until = Instant::now() + PATIENCE;
        let own = self.own.take(bytes, until);
        let own = own.await.ok_or(NoRoom::InShare)?;
        let tenants = self.tenants.take(bytes, until);
        let tenants = tenants.await.ok_or(NoRoom::OfTenant)?;
        let of = self.of.take(bytes, until);
        let of = of.await.ok_or(NoRoom::AtAll)?;
        Ok(Room([own, tenants, of]))
    }

    /// Room that is there now.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Room> {
        let own = self.own.try_take(bytes)?;
        let tenants = self.tenants.try_take(bytes)?;
        let of = self.of.try_take(bytes)?;
        Some(Room([own, tenants, of]))
    }
}

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.0[0].num_permits() * UNIT
    }

    /// Gives back what is not needed for `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let spare = self.0[0].num_permits().saturating_sub(bytes.div_ceil(UNIT));
        for held in &mut self.0 {
            drop(held.split(spare));
        }
    }

    /// Takes in the room that `more` has.
    pub(super) fn join(&mut self, more: Self) {
        for (held, more) in self.0.iter_mut().zip(more.0) {
            held.merge(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a tenant that never has too little.
    fn wide_tenant() -> ByteBudget {
        ByteBudget::new(4 << 20)
    }

    #[tokio::test(start_paused = true)]
    async fn many_principals_of_one_tenant_leave_the_rest_to_others() {
        let (all, tenants) = (ByteBudget::new(4 << 20), ByteBudget::new(2 << 20));
        let shares = [(); 3].map(|()| all.share(1 << 20, &tenants));
        let first = shares[0].take(1 << 20).await.expect("there is room");
        let _second = shares[1].take(1 << 20).await.expect("there is room");
        assert_eq!(shares[2].take(1).await.err(), Some(NoRoom::OfTenant));
        let other = all.share(1 << 20, &wide_tenant());
        assert!(other.take(1 << 20).await.is_ok());
        drop(first);
        assert!(shares[2].take(1 << 20).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_refused_when_the_budget_is_spent_and_returns_on_drop() {
        let budget = ByteBudget::new(1 << 20);
        let (first, second) = (
            budget.share(1 << 20, &wide_tenant()),
            budget.share(1 << 20, &wide_tenant()),
        );
        let room = first.take(1 << 20).await.expect("the whole budget is free");
        assert_eq!(second.take(1).await.err(), Some(NoRoom::AtAll));
        drop(room);
        assert!(second.take(1 << 20).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_principal_that_has_used_its_share_leaves_the_rest_to_others() {
        let budget = ByteBudget::new(4 << 20);
        let (greedy, other) = (
            budget.share(1 << 20, &wide_tenant()),
            budget.share(1 << 20, &wide_tenant()),
        );
        let room = greedy.take(1 << 20).await.expect("the share is free");
        assert_eq!(greedy.take(1).await.err(), Some(NoRoom::InShare));
        assert!(other.take(1 << 20).await.is_ok());
        drop(room);
        assert!(greedy.take(1).await.is_ok());
    }

    #[test]
    fn room_that_is_not_needed_returns_to_all_three() {
        let budget = ByteBudget::new(64 << 10);
        let tenants = ByteBudget::new(64 << 10);
        let (own, other) = (
            budget.share(64 << 10, &tenants),
            budget.share(64 << 10, &tenants),
        );
        let mut room = own.try_take(64 << 10).expect("all is free");
        room.shrink_to(1);
        assert_eq!(room.bytes(), 1 << 10);
        assert!(own.try_take(64 << 10).is_none());
        drop(own.try_take(63 << 10).expect("the rest of the share"));
        assert!(other.try_take(63 << 10).is_some());
        room.shrink_to(64 << 10);
        assert_eq!(room.bytes(), 1 << 10, "it does not grow");
    }
}
