//! How many connections may be open: in all, and of one address or pod.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::folding::network;

/// The part of all connections that one address may hold: a runner behind a NAT speaks for many agents,
/// but not for all.
const ADDRESS_SHARE: usize = 4;
/// A pod speaks for itself alone.
const POD_SHARE: usize = 16;
/// A client with a connection for each of its threads.
const FEWEST_OF_POD: usize = 16;

#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    connections: usize,
    holders: Arc<Mutex<HashMap<Holder, usize>>>,
    /// How many connections are open.
    open: Gauge,
}

/// Whose share a connection is of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Holder {
    Network(IpAddr),
    /// By UID: all pods have the same address, that of loopback.
    Pod(String),
}

/// The right to accept one connection.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// The right of one holder to keep a connection open.
#[derive(Debug)]
pub(super) struct Held {
    _slot: Slot,
    holder: Holder,
    holders: Arc<Mutex<HashMap<Holder, usize>>>,
    open: Gauge,
}

impl Holder {
    pub(super) fn network(client: IpAddr) -> Self {
        Self::Network(network(client))
    }

    fn share(&self, connections: usize) -> usize {
        match self {
            Self::Network(_) => connections.div_ceil(ADDRESS_SHARE),
            Self::Pod(_) => connections.div_ceil(POD_SHARE).max(FEWEST_OF_POD),
        }
    }
}

impl Slots {
    pub(super) fn new(connections: usize, open: Gauge) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections)),
            connections,
            holders: Arc::default(),
            open,
        }
    }

    /// Waits until a connection may be accepted.
    pub(super) async fn free(&self) -> Slot {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Slot {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// `None` where `holder` has its share already.
    pub(super) fn hold(&self, slot: Slot, holder: Holder) -> Option<Held> {
        let mut holders = lock(&self.holders);
        let open = holders.entry(holder.clone()).or_default();
        if *open >= holder.share(self.connections) {
            return None;
        }
        *open += 1;
        self.open.inc();
        Some(Held {
            _slot: slot,
            holder,
            holders: Arc::clone(&self.holders),
            open: self.open.clone(),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
        let mut holders = lock(&self.holders);
        if let Some(open) = holders.get_mut(&self.holder) {
            *open -= 1;
            if *open == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}

fn lock(holders: &Mutex<HashMap<Holder, usize>>) -> MutexGuard<'_, HashMap<Holder, usize>> {
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_cannot_take_every_connection() {
        let slots = Slots::new(8, Gauge::default());
        let greedy = || Holder::network(IpAddr::from([10, 0, 0, 1]));
        let held: Vec<_> = [
            slots.hold(slots.free().await, greedy()),
            slots.hold(slots.free().await, greedy()),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(held.len(), 2);
        assert!(slots.hold(slots.free().await, greedy()).is_none());
        let other = Holder::network(IpAddr::from([10, 0, 0, 2]));
        assert!(slots.hold(slots.free().await, other).is_some());
        drop(held);
        assert!(slots.hold(slots.free().await, greedy()).is_some());
        assert!(lock(&slots.holders).is_empty());
    }

    #[tokio::test]
    async fn one_pod_cannot_take_every_connection() {
        let slots = Slots::new(64, Gauge::default());
        let mut held = Vec::new();
        while let Some(one) = slots.hold(slots.free().await, Holder::Pod("greedy".into())) {
            held.push(one);
        }
        assert_eq!(held.len(), FEWEST_OF_POD);
        assert!(
            slots
                .hold(slots.free().await, Holder::Pod("other".into()))
                .is_some()
        );
    }
}
