//! Where clouds hand out a node's credentials to whoever asks from the node.

use std::{net::IpAddr, num::NonZeroU16};

use crate::redirect::Guarded;

/// Whose it is, the address, and the ports; all where there are none.
///
/// The address that most clouds share is a resolver too on some, Google's among them, so that only HTTP and HTTPS are
/// closed where that may be.
const SERVICES: [(&str, &str, &[u16]); 14] = [
    ("most clouds", "169.254.169.254", &[80, 443]),
    ("AWS", "fd00:ec2::254", &[]),
    ("Google", "fd20:ce::254", &[80, 443]),
    // Where GKE leads port 80 of the shared address.
    ("Google", "169.254.169.252", &[]),
    // The WireServer gives out what a node joins the cluster with.
    ("Azure", "168.63.129.16", &[80, 443, 32526]),
    ("Alibaba", "100.100.100.200", &[]),
    ("Alibaba", "fd00:100::100:200", &[]),
    ("Linode", "fd00:a9fe:a9fe::1", &[]),
    ("OpenStack", "fe80::a9fe:a9fe", &[80, 443]),
    ("Oracle", "192.0.0.192", &[]),
    ("Oracle", "fd00:c1::a9fe:a9fe", &[80, 443]),
    ("Scaleway", "169.254.42.42", &[]),
    ("Scaleway", "fd00:42::42", &[]),
    ("Tencent", "169.254.0.23", &[]),
];

pub(super) fn guards() -> impl Iterator<Item = Guarded> {
    SERVICES.into_iter().flat_map(|(_, ip, ports)| {
        let ip: IpAddr = ip.parse().expect("the table holds addresses");
        let ports = ports.iter().copied().map(NonZeroU16::new);
        let all = ports.len() == 0;
        ports
            .chain(all.then_some(None))
            .map(move |port| Guarded::new(ip, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_address_still_resolves_names() {
        let shared = IpAddr::from([169, 254, 169, 254]);
        let ports: Vec<_> = guards()
            .filter(|guarded| guarded.ip() == shared)
            .map(|guarded| guarded.port())
            .collect();
        assert_eq!(ports, [NonZeroU16::new(80), NonZeroU16::new(443)]);
    }

    #[test]
    fn an_address_without_ports_is_closed_on_all() {
        let scaleway = Guarded::new(IpAddr::from([169, 254, 42, 42]), None);
        assert!(guards().any(|guarded| guarded == scaleway));
    }
}
