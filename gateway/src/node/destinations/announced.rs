//! The list as it is announced: what leads to the API server now or did within the hour, as far as there is room.
//!
//! A client may hold an address long after it went out of the cluster's objects, and a load balancer may answer there
//! for as long; hence the hour. What finds no port is closed, never left open.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use sallyport_common::{MAX_DESTINATIONS, MAX_GUARDED};
use tokio::time::Instant;

use super::{
    Destinations, Inherited,
    cluster::{Cluster, Node},
    metadata,
    ways::{Rank, Way, Ways},
};
use crate::{
    config::node::{CloudMetadata, NodeConfig},
    redirect::Guarded,
};

const REMEMBERED: Duration = Duration::from_secs(3600);
/// Somebody who makes and deletes Services all the time gets no more than this out of the hour.
const MOST_GONE: usize = 4096;
/// etcd, the kubelet, controller manager, scheduler, and RKE2's supervisor.
const CONTROL_PLANE_PORTS: [u16; 6] = [2379, 2380, 9345, 10250, 10257, 10259];
/// In a message; the rest is a number.
const MOST_SHOWN: usize = 5;

#[derive(Debug)]
pub(super) struct Announced {
    configured: Vec<SocketAddr>,
    guard_metadata: bool,
    /// How many can be redirected.
    room: usize,
    domain: String,
    remembered: BTreeMap<SocketAddr, Remembered>,
    /// Of the node agent before this one, and since when they are only remembered.
    inherited: (BTreeSet<Guarded>, Instant),
}

#[derive(Debug)]
struct Remembered {
    way: Way,
    last_seen: Instant,
    redirected: bool,
}

impl Remembered {
    fn inherited(now: Instant) -> Self {
        let way = Way {
            rank: Rank::Inherited,
            names: Vec::new(),
        };
        Self {
            way,
            last_seen: now,
            redirected: true,
        }
    }
}

impl Announced {
    pub(super) fn new(
        config: &NodeConfig,
        domain: String,
        inherited: Inherited,
        now: Instant,
    ) -> Self {
        let room = u32::from(config.ports.count.get()).min(MAX_DESTINATIONS);
        let guard_metadata = config.cloud_metadata == CloudMetadata::Deny;
        let mut guarded = inherited.guarded;
        if !guard_metadata {
            guarded.retain(|guarded| !metadata::guards().any(|metadata| metadata == *guarded));
        }
        let redirected = inherited.redirected.into_iter();
        Self {
            configured: config.destinations.addresses.clone(),
            guard_metadata,
            room: room as usize,
            domain,
            remembered: redirected
                .map(|address| (address, Remembered::inherited(now)))
                .collect(),
            inherited: (guarded, now),
        }
    }

    /// The list as of `now`, which never goes back.
    pub(super) fn update(&mut self, cluster: &Cluster, now: Instant) -> Destinations {
        let ways = Ways::of(cluster, &self.configured, &self.domain);
        let mut problems = problems(cluster, &ways, now);
        for (address, way) in &ways.ways {
            self.see(*address, way, now);
        }
        self.forget(now);
        let closed = self.choose(now);
        problems.extend(self.no_port(&closed));
        let (guarded, left_out) = self.guarded(cluster, &ways);
        problems.extend(left_out);
        let redirected = self.remembered.iter().filter(|(_, entry)| entry.redirected);
        Destinations {
            redirected: redirected
                .map(|(address, entry)| (*address, entry.way.names.clone()))
                .collect(),
            guarded,
            problems,
        }
    }

    fn see(&mut self, address: SocketAddr, way: &Way, now: Instant) {
        let redirected = self
            .remembered
            .get(&address)
            .is_some_and(|entry| entry.redirected);
        let entry = Remembered {
            way: way.clone(),
            last_seen: now,
            redirected,
        };
        self.remembered.insert(address, entry);
    }

    fn forget(&mut self, now: Instant) {
        self.remembered
            .retain(|_, entry| now.duration_since(entry.last_seen) < REMEMBERED);
        if now.duration_since(self.inherited.1) >= REMEMBERED {
            self.inherited.0.clear();
        }
        let gone = self
            .remembered
            .iter()
            .filter(|(_, entry)| entry.last_seen != now);
        let mut gone: Vec<_> = gone
            .map(|(address, entry)| (entry.last_seen, *address))
            .collect();
        gone.sort_unstable();
        for (_, address) in gone.iter().take(gone.len().saturating_sub(MOST_GONE)) {
            self.remembered.remove(address);
        }
    }

    /// Gives the room to what matters most, and among equals to what had it. Returns what is there and has none.
    fn choose(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut order: Vec<_> = self.remembered.iter_mut().collect();
        order.sort_by_key(|(address, entry)| {
            (
                entry.last_seen != now,
                entry.way.rank,
                !entry.redirected,
                **address,
            )
        });
        let mut closed = Vec::new();
        for (place, (address, entry)) in order.into_iter().enumerate() {
            entry.redirected = place < self.room;
            if !entry.redirected && entry.last_seen == now {
                closed.push(*address);
            }
        }
        closed
    }

    fn no_port(&self, closed: &[SocketAddr]) -> Option<String> {
        let shown: Vec<_> = closed
            .iter()
            .take(MOST_SHOWN)
            .map(SocketAddr::to_string)
            .collect();
        (!closed.is_empty()).then(|| {
            format!(
                "{} ways to the API server find none of the {} ports (ports.count), so that agents are denied there: {}{}",
                closed.len(),
                self.room,
                shown.join(", "),
                if closed.len() > MOST_SHOWN { " and others" } else { "" },
            )
        })
    }

    /// In the order in which they find room in the kernel's table.
    fn guarded(&self, cluster: &Cluster, ways: &Ways) -> (BTreeSet<Guarded>, Option<String>) {
        let remembered = self
            .remembered
            .keys()
            .map(|address| guard(address.ip(), address.port()));
        let metadata = metadata::guards().filter(|_| self.guard_metadata);
        let control_plane = product(&ways.control_plane, CONTROL_PLANE_PORTS);
        let nodes = || cluster.nodes.objects.values();
        let kubelets = |ips: fn(&Node) -> &[IpAddr]| {
            nodes().flat_map(move |node| ips(node).iter().map(|ip| guard(*ip, node.kubelet_port)))
        };
        let node_ports = nodes().flat_map(|node| {
            let ips = node.internal_ips.iter().chain(&node.external_ips);
            product(ips, ways.node_ports.iter().copied())
        });
        let mut wanted = remembered
            .chain(metadata)
            .chain(control_plane)
            .chain(kubelets(|node| &node.internal_ips))
            .chain(node_ports)
            .chain(kubelets(|node| &node.external_ips))
            .chain(self.inherited.0.iter().copied());
        let mut guarded = BTreeSet::new();
        while guarded.len() < MAX_GUARDED as usize {
            let Some(next) = wanted.next() else {
                return (guarded, None);
            };
            guarded.insert(next);
        }
        let left_out: BTreeSet<_> = wanted.filter(|next| !guarded.contains(next)).collect();
        let problem = (!left_out.is_empty()).then(|| too_many(left_out.len()));
        (guarded, problem)
    }
}

fn too_many(left_out: usize) -> String {
    format!(
        "{left_out} kubelet and node ports find no room beside {MAX_GUARDED} others: close them to agents by NetworkPolicy"
    )
}

fn problems(cluster: &Cluster, ways: &Ways, now: Instant) -> Vec<String> {
    let mut problems = cluster.troubles(now);
    let failures = cluster.names.failures.iter();
    problems.extend(failures.map(|(name, failure)| format!("{name} does not resolve: {failure}")));
    if !ways.ways.values().any(|way| way.rank == Rank::Kubernetes) {
        problems
            .push("the Service kubernetes in the namespace default has no ClusterIP".to_owned());
    }
    problems
}

fn guard(ip: IpAddr, port: u16) -> Guarded {
    Guarded::new(ip, NonZeroU16::new(port))
}

fn product<'a>(
    ips: impl IntoIterator<Item = &'a IpAddr>,
    ports: impl IntoIterator<Item = u16> + Clone,
) -> impl Iterator<Item = Guarded> {
    let ips = ips.into_iter();
    ips.flat_map(move |ip| ports.clone().into_iter().map(|port| guard(*ip, port)))
}

#[cfg(test)]
mod tests;
