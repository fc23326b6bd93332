//! How many connections may be open: in all, and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::folding::network;

/// The part of all connections that one address may hold: a runner behind a NAT speaks for many agents,
/// but not for all.
const SHARE: usize = 4;

#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    share: usize,
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// How many connections are open.
    open: Gauge,
}

/// The right to accept one connection.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// The right of one address to keep a connection open.
#[derive(Debug)]
pub(super) struct Held {
    _slot: Slot,
    source: IpAddr,
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
    open: Gauge,
}

impl Slots {
    pub(super) fn new(connections: usize, open: Gauge) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections)),
            share: connections.div_ceil(SHARE),
            sources: Arc::default(),
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

    /// `None` where `source` holds its share already.
    pub(super) fn hold(&self, slot: Slot, source: IpAddr) -> Option<Held> {
        let source = network(source);
        let mut sources = lock(&self.sources);
        let open = sources.entry(source).or_default();
        if *open >= self.share {
            return None;
        }
        *open += 1;
        self.open.inc();
        Some(Held {
            _slot: slot,
            source,
            sources: Arc::clone(&self.sources),
            open: self.open.clone(),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
        let mut sources = lock(&self.sources);
        if let Some(open) = sources.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

fn lock(
    sources: &Mutex<HashMap<IpAddr, usize>>,
) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_cannot_take_every_connection() {
        let slots = Slots::new(8, Gauge::default());
        let greedy = IpAddr::from([10, 0, 0, 1]);
        let held: Vec<_> = [
            slots.hold(slots.free().await, greedy),
            slots.hold(slots.free().await, greedy),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(held.len(), 2);
        assert!(slots.hold(slots.free().await, greedy).is_none());
        let other = IpAddr::from([10, 0, 0, 2]);
        assert!(slots.hold(slots.free().await, other).is_some());
        drop(held);
        assert!(slots.hold(slots.free().await, greedy).is_some());
        assert!(lock(&slots.sources).is_empty());
    }
}
