//! Names under which the API server is known outside of the cluster, asked for again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{self, timeout},
};

use crate::config::node::PublicName;

const INTERVAL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);
/// A name with more addresses is not the API server's.
const MOST_ADDRESSES: usize = 64;

/// What the last lookups said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Resolved {
    /// Whether every name has been asked for once.
    pub(super) asked: bool,
    pub(super) addresses: BTreeMap<PublicName, BTreeSet<IpAddr>>,
    /// Why the last lookup of a name failed; what it resolved to before stays.
    pub(super) failures: BTreeMap<PublicName, String>,
}

/// Runs for ever.
pub(super) async fn keep_resolved(names: &[PublicName], sender: watch::Sender<Resolved>) {
    let mut interval = time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let answers = join_all(names.iter().map(lookup)).await;
        sender.send_if_modified(|resolved| {
            let answers = names.iter().cloned().zip(answers);
            let new = resolved.clone().after(answers);
            let changed = new != *resolved;
            *resolved = new;
            changed
        });
    }
}

impl Resolved {
    fn after(
        mut self,
        answers: impl Iterator<Item = (PublicName, Result<BTreeSet<IpAddr>, String>)>,
    ) -> Self {
        self.asked = true;
        let failed_before = std::mem::take(&mut self.failures);
        for (name, answer) in answers {
            match answer {
                Ok(addresses) => {
                    self.addresses.insert(name, addresses);
                }
                Err(failure) => {
                    if failed_before.get(&name) != Some(&failure) {
                        tracing::warn!(%name, failure, "a name of destinations.names does not resolve");
                    }
                    self.failures.insert(name, failure);
                }
            }
        }
        self
    }
}

async fn lookup(name: &PublicName) -> Result<BTreeSet<IpAddr>, String> {
    let answer = timeout(PATIENCE, lookup_host((name.host(), name.port()))).await;
    let answer = answer.map_err(|_| format!("no answer for {} seconds", PATIENCE.as_secs()))?;
    let addresses = answer
        .map_err(|error| error.to_string())?
        .map(|address| address.ip().to_canonical());
    let usable =
        addresses.filter(|ip| !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast());
    let usable: BTreeSet<_> = usable.take(MOST_ADDRESSES).collect();
    if usable.is_empty() {
        return Err("no address that a pod could reach".to_owned());
    }
    Ok(usable)
}

/// As this pod's own resolver knows it, where it is told about the cluster's names.
pub(super) fn cluster_domain() -> String {
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    domain_in(&resolver).unwrap_or("cluster.local").to_owned()
}

fn domain_in(resolver: &str) -> Option<&str> {
    let search = resolver
        .lines()
        .filter_map(|line| line.strip_prefix("search "));
    let mut domains = search.flat_map(str::split_whitespace);
    domains.find_map(|domain| domain.strip_prefix("svc."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> PublicName {
        "api.example.com:443".parse().expect("a name")
    }

    fn addresses() -> BTreeSet<IpAddr> {
        BTreeSet::from([IpAddr::from([203, 0, 113, 7])])
    }

    #[test]
    fn a_failed_lookup_keeps_the_last_answer() {
        let resolved = Resolved::default().after([(name(), Ok(addresses()))].into_iter());
        let resolved = resolved.after([(name(), Err("no answer".into()))].into_iter());
        assert_eq!(resolved.addresses[&name()], addresses());
        assert_eq!(resolved.failures[&name()], "no answer");

        let resolved = resolved.after([(name(), Ok(addresses()))].into_iter());
        assert!(resolved.failures.is_empty());
    }

    #[test]
    fn a_name_that_does_not_resolve_is_asked_for_all_the_same() {
        let resolved = Resolved::default().after([(name(), Err("no answer".into()))].into_iter());
        assert!(resolved.asked && resolved.addresses.is_empty());
    }

    #[test]
    fn the_domain_of_the_cluster_is_what_the_resolver_searches() {
        let resolver =
            "nameserver 10.96.0.10\nsearch agents.svc.example.net svc.example.net example.net\n";
        assert_eq!(domain_in(resolver), Some("example.net"));
        assert_eq!(domain_in("search example.net\n"), None);
    }
}
