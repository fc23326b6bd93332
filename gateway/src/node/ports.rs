//! Which loopback port stands for which destination.
//!
//! A port is all that tells where a connection was going, so one that has stood for a destination does not stand
//! for another soon: a client that was redirected a moment ago must not arrive elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU16,
    time::Duration,
};

use tokio::time::Instant;

use crate::config::node::Ports;

/// As long as a destination that is gone is still redirected, for the same reason.
const REST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct PortTable {
    range: Ports,
    taken: BTreeMap<SocketAddr, NonZeroU16>,
    resting: BTreeMap<NonZeroU16, (SocketAddr, Instant)>,
}

impl PortTable {
    pub(super) fn new(range: Ports) -> Self {
        Self {
            range,
            taken: BTreeMap::new(),
            resting: BTreeMap::new(),
        }
    }

    /// Takes what somebody who held it before says. False where it contradicts what is known.
    pub(super) fn adopt(&mut self, destination: SocketAddr, port: NonZeroU16) -> bool {
        if let Some(known) = self.taken.get(&destination) {
            return *known == port;
        }
        if !self.is_ours(port) || !self.is_free(port, destination) {
            return false;
        }
        self.resting.remove(&port);
        self.taken.insert(destination, port);
        true
    }

    /// The port of `destination`, which it keeps: its old one where it comes back, else one that never stood for
    /// another, else the one that has rested longest and is not among `open`.
    pub(super) fn port_of(
        &mut self,
        destination: SocketAddr,
        open: &BTreeSet<NonZeroU16>,
        now: Instant,
    ) -> Option<NonZeroU16> {
        if let Some(port) = self.taken.get(&destination) {
            return Some(*port);
        }
        let port = self
            .rested_for(destination)
            .or_else(|| self.unused(open))
            .or_else(|| self.longest_rested(open, now))?;
        self.resting.remove(&port);
        self.taken.insert(destination, port);
        Some(port)
    }

    /// Lets go of every destination that is not in `wanted`.
    pub(super) fn keep(&mut self, wanted: impl Fn(&SocketAddr) -> bool, now: Instant) {
        let gone: Vec<_> = self
            .taken
            .extract_if(.., |destination, _| !wanted(destination))
            .collect();
        for (destination, port) in gone {
            self.resting.insert(port, (destination, now));
        }
    }

    fn is_ours(&self, port: NonZeroU16) -> bool {
        let (first, count) = (self.range.first.get(), self.range.count.get());
        port >= self.range.first && port.get() - first < count
    }

    fn is_free(&self, port: NonZeroU16, destination: SocketAddr) -> bool {
        let rests = self
            .resting
            .get(&port)
            .is_some_and(|(own, _)| *own != destination);
        !rests && !self.taken.values().any(|taken| *taken == port)
    }

    fn rested_for(&self, destination: SocketAddr) -> Option<NonZeroU16> {
        let mut resting = self.resting.iter();
        resting.find_map(|(port, (own, _))| (*own == destination).then_some(*port))
    }

    fn unused(&self, open: &BTreeSet<NonZeroU16>) -> Option<NonZeroU16> {
        let taken: BTreeSet<_> = self.taken.values().copied().collect();
        let count = self.range.count.get();
        let mut ports = (0..count).filter_map(|index| self.range.first.checked_add(index));
        ports.find(|port| {
            !taken.contains(port) && !self.resting.contains_key(port) && !open.contains(port)
        })
    }

    fn longest_rested(&self, open: &BTreeSet<NonZeroU16>, now: Instant) -> Option<NonZeroU16> {
        let rested = self.resting.iter().filter(|(port, (_, since))| {
            now.duration_since(*since) >= REST && !open.contains(port)
        });
        rested
            .min_by_key(|(_, (_, since))| *since)
            .map(|(port, _)| *port)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn table(count: u16) -> PortTable {
        let number = |number| NonZeroU16::new(number).expect("not zero");
        PortTable::new(Ports {
            first: number(15300),
            count: number(count),
        })
    }

    fn destination(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 443).into()
    }

    fn number(port: Option<NonZeroU16>) -> Option<u16> {
        port.map(NonZeroU16::get)
    }

    #[test]
    fn a_destination_that_comes_back_gets_its_port_and_nobody_else_does_before() {
        let now = Instant::now();
        let none = BTreeSet::new();
        let mut table = table(2);
        assert_eq!(
            number(table.port_of(destination(1), &none, now)),
            Some(15300)
        );
        table.keep(|_| false, now);
        assert_eq!(
            number(table.port_of(destination(2), &none, now)),
            Some(15301)
        );
        assert_eq!(table.port_of(destination(3), &none, now), None);
        assert_eq!(
            number(table.port_of(destination(1), &none, now)),
            Some(15300)
        );
        table.keep(|_| false, now);
        let later = now + REST;
        let open = [NonZeroU16::new(15300).expect("not zero")].into();
        assert_eq!(
            number(table.port_of(destination(3), &open, later)),
            Some(15301)
        );
        assert_eq!(table.port_of(destination(4), &open, later), None);
        assert_eq!(
            number(table.port_of(destination(4), &none, later)),
            Some(15300)
        );
    }

    #[test]
    fn what_others_held_is_adopted_unless_it_contradicts() {
        let mut table = table(4);
        let port = |number| NonZeroU16::new(number).expect("not zero");
        assert!(table.adopt(destination(1), port(15302)));
        assert!(table.adopt(destination(1), port(15302)));
        assert!(!table.adopt(destination(1), port(15301)));
        assert!(!table.adopt(destination(2), port(15302)));
        assert!(!table.adopt(destination(2), port(15304)));
        assert!(!table.adopt(destination(2), port(443)));
        let now = Instant::now();
        assert_eq!(
            number(table.port_of(destination(1), &BTreeSet::new(), now)),
            Some(15302)
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(u8),
        Adopt(u8, u16),
        Keep(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..12_u8).prop_map(Step::Want),
            1 => (0..12_u8, 15298..15310_u16).prop_map(|(n, port)| Step::Adopt(n, port)),
            1 => any::<u8>().prop_map(Step::Keep),
            1 => (0..5000_u64).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn a_port_never_stands_for_two_within_the_hour(steps in steps()) {
            let mut now = Instant::now();
            let mut table = table(8);
            // The port's last owner, and until when it had it.
            let mut owners: BTreeMap<NonZeroU16, (SocketAddr, Instant)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Want(n) => drop(table.port_of(destination(n), &BTreeSet::new(), now)),
                    Step::Adopt(n, port) => {
                        let port = NonZeroU16::new(port).expect("not zero");
                        table.adopt(destination(n), port);
                    }
                    Step::Keep(mask) => table.keep(|d| matches!(d.ip(), IpAddr::V4(ip) if ip.octets()[3] & mask != 0), now),
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let mut ports = BTreeSet::new();
                for (destination, port) in &table.taken {
                    prop_assert!(ports.insert(*port), "{port} stands for two");
                    prop_assert!((15300..15308).contains(&port.get()));
                    if let Some((owner, until)) = owners.get(port) {
                        prop_assert!(owner == destination || now.duration_since(*until) >= REST);
                    }
                    owners.insert(*port, (*destination, now));
                }
            }
        }
    }
}
