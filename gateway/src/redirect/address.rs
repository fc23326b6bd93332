use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

use sallyport_common::{Destination, Listener};

/// Where a connection was going before it was redirected.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OrigDstAddr(SocketAddr);

impl OrigDstAddr {
    /// A v4-mapped address becomes IPv4: both name the same destination.
    pub fn new(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl From<OrigDstAddr> for SocketAddr {
    fn from(address: OrigDstAddr) -> Self {
        address.0
    }
}

impl From<&OrigDstAddr> for Destination {
    fn from(address: &OrigDstAddr) -> Self {
        let port = address.0.port().to_be();
        match address.0.ip() {
            IpAddr::V4(ip) => Self::v4(u32::from(ip).to_be(), port),
            IpAddr::V6(ip) => Self::v6(words(ip), port),
        }
    }
}

impl From<&Destination> for OrigDstAddr {
    fn from(destination: &Destination) -> Self {
        let bytes = destination.address.map(u32::to_ne_bytes).concat();
        let bytes: [u8; 16] = bytes.try_into().expect("four words are sixteen bytes");
        let port = u16::from_be(destination.port);
        Self::new(SocketAddr::new(Ipv6Addr::from(bytes).into(), port))
    }
}

impl fmt::Display for OrigDstAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Four words whose bytes in memory are the address as it goes over the wire.
fn words(ip: Ipv6Addr) -> [u32; 4] {
    let bits = ip.to_bits();
    [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be())
}

/// The loopback port on which the gateway takes connections for one destination.
///
/// The listener has to be there on `127.0.0.1`, and on `::1` for IPv6 destinations.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerPort(NonZeroU16);

impl ListenerPort {
    pub fn new(port: NonZeroU16) -> Self {
        Self(port)
    }
}

impl From<ListenerPort> for NonZeroU16 {
    fn from(port: ListenerPort) -> Self {
        port.0
    }
}

/// What becomes of a connection to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    Redirect(ListenerPort),
    /// `connect` fails with `EPERM`: for a destination whose listener could not be opened.
    Deny,
}

impl From<Action> for Listener {
    fn from(action: Action) -> Self {
        match action {
            Action::Redirect(ListenerPort(port)) => Self {
                port: port.get().to_be(),
            },
            Action::Deny => Self { port: 0 },
        }
    }
}

impl From<Listener> for Action {
    fn from(listener: Listener) -> Self {
        NonZeroU16::new(u16::from_be(listener.port))
            .map_or(Self::Deny, |port| Self::Redirect(ListenerPort(port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(address: &str) -> Destination {
        (&OrigDstAddr::new(address.parse().expect("the test spells it right"))).into()
    }

    /// The bytes as the kernel compares them.
    fn wire(destination: Destination) -> ([u8; 16], [u8; 2]) {
        let mut address = [0; 16];
        for (bytes, word) in address.chunks_mut(4).zip(destination.address) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        (address, destination.port.to_ne_bytes())
    }

    #[test]
    fn a_destination_is_written_in_network_byte_order() {
        let (address, port) = wire(destination("[2001:db8::102:304]:443"));
        assert_eq!(
            address,
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
        );
        assert_eq!(port, [1, 187]);
    }

    #[test]
    fn an_ipv4_destination_is_written_v4_mapped() {
        let (address, _) = wire(destination("192.0.2.1:443"));
        assert_eq!(
            address,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        );
        assert!(destination("192.0.2.1:443").is_v4());
        assert!(!destination("[2001:db8::1]:443").is_v4());
    }

    #[test]
    fn a_v4_mapped_address_names_the_ipv4_destination() {
        assert_eq!(
            destination("[::ffff:192.0.2.1]:443"),
            destination("192.0.2.1:443")
        );
    }

    #[test]
    fn what_the_kernel_was_told_is_read_back() {
        for address in ["192.0.2.1:443", "[2001:db8::1]:6443"] {
            let told = OrigDstAddr::new(address.parse().expect("the test spells it right"));
            assert_eq!(OrigDstAddr::from(&Destination::from(&told)), told);
        }
        let port = NonZeroU16::new(15300).expect("not zero");
        for action in [Action::Deny, Action::Redirect(ListenerPort::new(port))] {
            assert_eq!(Action::from(Listener::from(action)), action);
        }
    }
}
