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
/// Whoever may make pods could make as many as there are shares of pods, so those of a namespace have one together.
const NAMESPACE_SHARE: usize = 4;

#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    connections: usize,
    holders: Holders,
    /// How many connections are open.
    open: Gauge,
}

type Holders = Arc<Mutex<HashMap<Share, usize>>>;

/// Whose connection it is.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    Network(IpAddr),
    /// All pods have the same address, that of loopback.
    Pod {
        namespace: String,
        uid: String,
    },
}

/// What a connection counts for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Share {
    Network(IpAddr),
    Pod(String),
    Namespace(String),
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
    shares: Vec<Share>,
    holders: Holders,
    open: Gauge,
}

impl Holder {
    pub(super) fn network(client: IpAddr) -> Self {
        Self::Network(network(client))
    }

    fn shares(&self) -> Vec<Share> {
        match self {
            Self::Network(network) => vec![Share::Network(*network)],
            Self::Pod { namespace, uid } => {
                vec![Share::Pod(uid.clone()), Share::Namespace(namespace.clone())]
            }
        }
    }
}

impl Share {
    fn most(&self, connections: usize) -> usize {
        match self {
            Self::Network(_) => connections.div_ceil(ADDRESS_SHARE),
            Self::Pod(_) => connections.div_ceil(POD_SHARE).max(FEWEST_OF_POD),
            Self::Namespace(_) => connections.div_ceil(NAMESPACE_SHARE).max(FEWEST_OF_POD),
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

    /// Whether `holder` has not its share already: asked before waiting for a place, which others may be waiting for.
    pub(super) fn may_hold(&self, holder: &Holder) -> bool {
        self.have_room(&holder.shares(), &lock(&self.holders))
    }

    /// `None` where `holder` has its share already.
    pub(super) fn hold(&self, slot: Slot, holder: &Holder) -> Option<Held> {
        let shares = holder.shares();
        let mut holders = lock(&self.holders);
        if !self.have_room(&shares, &holders) {
            return None;
        }
        for share in &shares {
            *holders.entry(share.clone()).or_default() += 1;
        }
        self.open.inc();
        Some(Held {
            _slot: slot,
            shares,
            holders: Arc::clone(&self.holders),
            open: self.open.clone(),
        })
    }

    fn have_room(&self, shares: &[Share], holders: &HashMap<Share, usize>) -> bool {
        shares.iter().all(|share| {
            holders.get(share).copied().unwrap_or_default() < share.most(self.connections)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
        let mut holders = lock(&self.holders);
        for share in &self.shares {
            if let Some(open) = holders.get_mut(share) {
                *open -= 1;
                if *open == 0 {
                    holders.remove(share);
                }
            }
        }
    }
}

fn lock(holders: &Mutex<HashMap<Share, usize>>) -> MutexGuard<'_, HashMap<Share, usize>> {
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, uid: &str) -> Holder {
        Holder::Pod {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        }
    }

    async fn as_many_as_go(slots: &Slots, holder: Holder) -> Vec<Held> {
        let mut held = Vec::new();
        while slots.may_hold(&holder) {
            held.extend(slots.hold(slots.free().await, &holder));
        }
        held
    }

    #[tokio::test]
    async fn one_address_cannot_take_every_connection() {
        let slots = Slots::new(8, Gauge::default());
        let greedy = Holder::network(IpAddr::from([10, 0, 0, 1]));
        let held = as_many_as_go(&slots, greedy.clone()).await;
        assert_eq!(held.len(), 2);
        assert!(slots.hold(slots.free().await, &greedy).is_none());
        let other = Holder::network(IpAddr::from([10, 0, 0, 2]));
        assert!(slots.hold(slots.free().await, &other).is_some());
        drop(held);
        assert!(slots.hold(slots.free().await, &greedy).is_some());
        assert!(lock(&slots.holders).is_empty());
    }

    #[tokio::test]
    async fn one_pod_cannot_take_every_connection() {
        let slots = Slots::new(512, Gauge::default());
        let held = as_many_as_go(&slots, pod("agents", "greedy")).await;
        assert_eq!(held.len(), 32);
        let other = slots.hold(slots.free().await, &pod("agents", "other"));
        assert!(other.is_some());
    }

    #[tokio::test]
    async fn the_pods_of_one_namespace_cannot_take_every_connection() {
        let slots = Slots::new(512, Gauge::default());
        let mut held = Vec::new();
        for number in 0..16 {
            held.extend(as_many_as_go(&slots, pod("greedy", &number.to_string())).await);
        }
        assert_eq!(held.len(), 128);
        let other = slots.hold(slots.free().await, &pod("agents", "other"));
        assert!(other.is_some());
        drop((held, other));
        assert!(lock(&slots.holders).is_empty());
    }
}
