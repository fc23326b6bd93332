//! Who listens where. Every address is on loopback.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

/// The gateway's listener in the pod.
pub(crate) const LISTENER: NonZeroU16 = NonZeroU16::new(15300).expect("not zero");

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The API server's address, which is a destination.
    pub(crate) fn api(self) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::new(10, 96, 0, 1), 443).into(),
            Self::V6 => (Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 1), 443).into(),
        }
    }

    /// An address that is none.
    pub(crate) fn elsewhere(self) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::new(10, 96, 0, 2), 443).into(),
            Self::V6 => (Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 2), 443).into(),
        }
    }

    pub(crate) fn gateway(self) -> SocketAddr {
        (self.loopback(), LISTENER.get()).into()
    }

    /// Where anybody may bind.
    pub(crate) fn any_port(self) -> SocketAddr {
        (self.loopback(), 0).into()
    }

    fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// Every address that something listens on.
pub(crate) fn listeners() -> impl Iterator<Item = SocketAddr> {
    FAMILIES
        .into_iter()
        .flat_map(|family| [family.api(), family.elsewhere(), family.gateway()])
}
