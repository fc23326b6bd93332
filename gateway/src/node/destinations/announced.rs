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
/// Whoever may make Services gets no more ports with them, of which all agents' pods have to listen on each,
const MOST_ALIASES: usize = 32;
/// and no more of the kernel's table, node ports on every node included.
const MOST_ALIAS_GUARDS: u32 = 4096;
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
        problems.extend(closed.problems(self.room));
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
    fn choose(&mut self, now: Instant) -> Closed {
        let mut order: Vec<_> = self.remembered.iter_mut().collect();
        order.sort_by_key(|(address, entry)| {
            (
                entry.last_seen != now,
                entry.way.rank,
                !entry.redirected,
                **address,
            )
        });
        let mut closed = Closed::default();
        let (mut room, mut of_aliases) = (self.room, MOST_ALIASES);
        for (address, entry) in order {
            let is_alias = entry.way.rank == Rank::Alias;
            entry.redirected = room > 0 && (!is_alias || of_aliases > 0);
            if entry.redirected {
                room -= 1;
                of_aliases -= usize::from(is_alias);
            } else if entry.last_seen == now {
                closed.of(room).push(*address);
            }
        }
        closed
    }

    /// In the order in which they find room in the kernel's table: what somebody's Services add comes after what every
    /// cluster has, and gets no more than its share.
    fn guarded(&self, cluster: &Cluster, ways: &Ways) -> (BTreeSet<Guarded>, Vec<String>) {
        let of = |wanted: fn(&Remembered) -> bool| {
            let entries = self.remembered.iter();
            let entries = entries.filter(move |(_, entry)| wanted(entry));
            entries.map(|(address, _)| guard(address.ip(), address.port()))
        };
        let metadata = metadata::guards().filter(|_| self.guard_metadata);
        let nodes = || cluster.nodes.objects.values();
        let kubelets = |ips: fn(&Node) -> &[IpAddr]| {
            nodes().flat_map(move |node| ips(node).iter().map(|ip| guard(*ip, node.kubelet_port)))
        };
        let node_ports = nodes().flat_map(|node| {
            let ips = node.internal_ips.iter().chain(&node.external_ips);
            product(ips, ways.node_ports.iter().copied())
        });
        let of_aliases = of(|entry| entry.way.rank == Rank::Alias).chain(node_ports);
        let rest = kubelets(|node| &node.external_ips).chain(self.inherited.0.iter().copied());

        let mut room = Room::default();
        let mut left_out = room.take(MAX_GUARDED, metadata);
        left_out += room.take(MAX_GUARDED, of(|entry| entry.redirected));
        left_out += room.take(
            MAX_GUARDED,
            product(&ways.control_plane, CONTROL_PLANE_PORTS),
        );
        left_out += room.take(MAX_GUARDED, kubelets(|node| &node.internal_ips));
        left_out += room.take(MAX_GUARDED, of(|entry| entry.way.rank != Rank::Alias));
        let aliases_left_out = room.take(MOST_ALIAS_GUARDS, of_aliases);
        left_out += room.take(MAX_GUARDED, rest);
        let problems = [
            (left_out > 0).then(|| too_many(left_out)),
            (aliases_left_out > 0).then(|| too_many_of_aliases(aliases_left_out)),
        ];
        (room.0, problems.into_iter().flatten().collect())
    }
}

/// What is in the kernel's table so far.
#[derive(Default)]
struct Room(BTreeSet<Guarded>);

impl Room {
    /// Adds `most` of what is wanted, as far as there is room. Returns how many find none.
    fn take(&mut self, most: u32, wanted: impl Iterator<Item = Guarded>) -> usize {
        let limit = (MAX_GUARDED as usize).min(self.0.len() + most as usize);
        let mut left_out = BTreeSet::new();
        for next in wanted {
            if self.0.len() < limit {
                self.0.insert(next);
            } else if !self.0.contains(&next) {
                left_out.insert(next);
            }
        }
        left_out.len()
    }
}

/// Ways that are denied, since they find no port.
#[derive(Default)]
struct Closed {
    without_port: Vec<SocketAddr>,
    /// While there were ports left.
    too_many_aliases: Vec<SocketAddr>,
}

impl Closed {
    fn of(&mut self, room: usize) -> &mut Vec<SocketAddr> {
        match room {
            0 => &mut self.without_port,
            _ => &mut self.too_many_aliases,
        }
    }

    fn problems(&self, ports: usize) -> impl Iterator<Item = String> {
        let without_port = (!self.without_port.is_empty()).then(|| {
            format!(
                "{} ways to the API server find none of the {ports} ports (ports.count), so that agents are denied there: {}",
                self.without_port.len(),
                shown(&self.without_port),
            )
        });
        let aliases = (!self.too_many_aliases.is_empty()).then(|| {
            format!(
                "Services in front of the API server have {} addresses beyond the {MOST_ALIASES} that are redirected, so that agents are denied there; delete those that nobody needs: {}",
                self.too_many_aliases.len(),
                shown(&self.too_many_aliases),
            )
        });
        without_port.into_iter().chain(aliases)
    }
}

fn shown(addresses: &[SocketAddr]) -> String {
    let shown: Vec<_> = addresses
        .iter()
        .take(MOST_SHOWN)
        .map(SocketAddr::to_string)
        .collect();
    let more = if addresses.len() > MOST_SHOWN {
        " and others"
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

fn too_many(left_out: usize) -> String {
    format!(
        "{left_out} kubelets' ports and former ways to the API server find no room beside {MAX_GUARDED} others: close them to agents by NetworkPolicy"
    )
}

fn too_many_of_aliases(left_out: usize) -> String {
    format!(
        "{left_out} addresses and node ports of Services in front of the API server find no room beside {MOST_ALIAS_GUARDS} others: delete those that nobody needs, or close them to agents by NetworkPolicy"
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
