use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use sallyport_common::Destination;

use super::OrigDstAddr;

/// Where no packet of an agent may go, and no connection but one that is redirected.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Guarded {
    ip: IpAddr,
    port: Option<NonZeroU16>,
}

impl Guarded {
    /// Every port, where `port` is none. A v4-mapped address becomes IPv4: both name the same host.
    pub fn new(ip: IpAddr, port: Option<NonZeroU16>) -> Self {
        Self {
            ip: ip.to_canonical(),
            port,
        }
    }

    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    pub fn port(&self) -> Option<NonZeroU16> {
        self.port
    }
}

impl From<&Guarded> for Destination {
    /// Port 0 stands for every port.
    fn from(guarded: &Guarded) -> Self {
        let port = guarded.port.map_or(0, NonZeroU16::get);
        (&OrigDstAddr::new(SocketAddr::new(guarded.ip, port))).into()
    }
}

impl From<&Destination> for Guarded {
    fn from(destination: &Destination) -> Self {
        let address: SocketAddr = OrigDstAddr::from(destination).into();
        Self::new(address.ip(), NonZeroU16::new(address.port()))
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port.get()).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_holds_is_read_back_as_it_was_written() {
        for ip in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
            for port in [None, NonZeroU16::new(10250)] {
                let guarded = Guarded::new(ip.parse().expect("an address"), port);
                assert_eq!(Guarded::from(&Destination::from(&guarded)), guarded);
            }
        }
    }
}
