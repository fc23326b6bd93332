//! Which addresses lead to the API server at one moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::cluster::{Cluster, Key, Service, Slice};

/// Whoever may write EndpointSlices can give an address as many names as there are Services.
const MOST_NAMES: usize = 32;

/// How much would be lost without it, the most first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// The ClusterIP of `default/kubernetes`.
    Kubernetes,
    /// An API server itself.
    Endpoint,
    /// From `node.yaml`.
    Configured,
    /// Of the node agent before this one, which did not say what it is.
    Inherited,
    /// Of a Service that somebody made.
    Alias,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Way {
    pub(super) rank: Rank,
    pub(super) names: Vec<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) ways: BTreeMap<SocketAddr, Way>,
    /// Ports on every node's address that lead there too.
    pub(super) node_ports: BTreeSet<u16>,
    /// Where the API servers run, and other parts of the control plane with them.
    pub(super) control_plane: BTreeSet<IpAddr>,
}

impl Ways {
    /// `domain` is the cluster's own, such as `cluster.local`.
    pub(super) fn of(cluster: &Cluster, configured: &[SocketAddr], domain: &str) -> Self {
        let mut ways = Self::default();
        ways.add_kubernetes(cluster, domain);
        for address in configured {
            ways.add(*address, Rank::Configured, &[]);
        }
        for (name, addresses) in &cluster.names.addresses {
            for ip in addresses {
                let address = SocketAddr::new(*ip, name.port());
                ways.add(address, Rank::Configured, &[name.host().to_owned()]);
            }
        }
        ways.add_aliases(cluster, domain);
        ways
    }

    fn add_kubernetes(&mut self, cluster: &Cluster, domain: &str) {
        let key = Key::new("default", "kubernetes");
        let mut names = vec!["kubernetes".to_owned()];
        names.extend(service_names(&key, domain));
        if let Some(service) = cluster.services.objects.get(&key) {
            let ports = service.ports.iter().map(|port| port.port);
            for address in product(&service.cluster_ips, ports) {
                self.add(address, Rank::Kubernetes, &names);
            }
        }
        let slices = cluster.slices.objects.iter();
        for (_, slice) in slices.filter(|(slice, object)| object.service_key(slice) == key) {
            self.control_plane.extend(&slice.addresses);
            let ports = slice.ports.iter().map(|(_, port)| *port);
            for address in product(&slice.addresses, ports) {
                self.add(address, Rank::Endpoint, &names);
            }
        }
    }

    /// An alias of an alias is one too, so this goes on until nothing is found any more.
    fn add_aliases(&mut self, cluster: &Cluster, domain: &str) {
        let mut found = 0;
        while found < self.ways.len() {
            found = self.ways.len();
            for (key, slice) in &cluster.slices.objects {
                let hits = self.hits(slice);
                let key = slice.service_key(key);
                let service = cluster
                    .services
                    .objects
                    .get(&key)
                    .filter(|_| !hits.is_empty());
                if let Some(service) = service {
                    self.add_alias(service, &service_names(&key, domain), &hits);
                }
            }
        }
    }

    /// The endpoints that are ways to the API server, each with the name of its port.
    fn hits<'a>(&self, slice: &'a Slice) -> Vec<(&'a str, SocketAddr)> {
        let ports = slice.ports.iter();
        let endpoints = ports.flat_map(|(name, port)| {
            let addresses = slice.addresses.iter();
            addresses.map(move |ip| (&**name, SocketAddr::new(*ip, *port)))
        });
        endpoints
            .filter(|(_, address)| self.ways.contains_key(address))
            .collect()
    }

    fn add_alias(&mut self, service: &Service, names: &[String], hits: &[(&str, SocketAddr)]) {
        let is_hit = |name: &str| hits.iter().any(|(hit, _)| *hit == name);
        for port in service.ports.iter().filter(|port| is_hit(&port.name)) {
            self.node_ports.extend(port.node_port);
            let virtual_ips = service.cluster_ips.iter().chain(&service.external_ips);
            for ip in virtual_ips {
                self.add(SocketAddr::new(*ip, port.port), Rank::Alias, names);
            }
        }
        // The names of a headless one are the endpoints'.
        if service.cluster_ips.is_empty() {
            for (_, endpoint) in hits {
                self.add(*endpoint, Rank::Alias, names);
            }
        }
    }

    /// The rank that came first is the better one.
    fn add(&mut self, address: SocketAddr, rank: Rank, names: &[String]) {
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            return;
        }
        let names_of = || Way {
            rank,
            names: Vec::new(),
        };
        let way = self.ways.entry(address).or_insert_with(names_of);
        for name in names {
            if way.names.len() < MOST_NAMES && !way.names.contains(name) {
                way.names.push(name.clone());
            }
        }
    }
}

impl Slice {
    fn service_key(&self, slice: &Key) -> Key {
        Key::new(&slice.namespace, &self.service)
    }
}

fn service_names(service: &Key, domain: &str) -> [String; 3] {
    let short = format!("{}.{}", service.name, service.namespace);
    [
        short.clone(),
        format!("{short}.svc"),
        format!("{short}.svc.{domain}"),
    ]
}

fn product(ips: &[IpAddr], ports: impl Iterator<Item = u16>) -> impl Iterator<Item = SocketAddr> {
    ports.flat_map(|port| ips.iter().map(move |ip| SocketAddr::new(*ip, port)))
}
