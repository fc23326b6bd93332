//! Packets made by hand, and those that arrive.

use std::{
    io::{ErrorKind, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::{NetNs, Wire};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The first bytes of a TCP segment or of a datagram: its ports, and enough behind them.
pub(crate) fn ports(destination: u16) -> Vec<u8> {
    let mut bytes = 40000_u16.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// An IPv4 packet of the pod's. `options` is a multiple of four bytes; `fragment` its flags and offset.
pub(crate) fn v4(
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = 20 + options.len();
    let mut packet = vec![0x40 | (length / 4) as u8, 0];
    packet.extend(((length + payload.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(Wire::POD_V4.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// An IPv6 packet of the pod's, whose payload begins with a header of kind `next`.
pub(crate) fn v6(destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(Wire::POD_V6.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// What a process is given as an argument.
pub(crate) fn hexadecimal(packet: &[u8]) -> String {
    packet.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sees every packet that arrives at the server's end of the wire.
pub(crate) struct Sniffer(Socket);

/// As much of a packet as the tests ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Where the network header has no options and no extensions.
    pub(crate) port: u16,
}

impl Sniffer {
    pub(crate) fn on(namespace: &NetNs) -> Self {
        const ETH_P_ALL: u16 = 3;
        let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let socket = namespace.enter(|| Socket::new(Domain::PACKET, Type::RAW, Some(protocol)));
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// What has arrived since the last time, in order. A packet is seen before its receiver hears of it, so after
    /// an exchange with the server all that was sent before is here.
    pub(crate) fn seen(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut frame = [0; 2048];
        loop {
            match self.0.read(&mut frame) {
                Ok(length) => seen.extend(parse(&frame[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn parse(frame: &[u8]) -> Option<Seen> {
    const LINK_HEADER: usize = 14;
    let packet = frame.get(LINK_HEADER..)?;
    let port = |at: usize| {
        packet
            .get(at..at + 2)
            .map_or(0, |port| u16::from_be_bytes([port[0], port[1]]))
    };
    match frame.get(12..LINK_HEADER)? {
        [0x08, 0x00] => Some(Seen {
            destination: <[u8; 4]>::try_from(packet.get(16..20)?).ok()?.into(),
            protocol: *packet.get(9)?,
            port: port(22),
        }),
        [0x86, 0xdd] => Some(Seen {
            destination: <[u8; 16]>::try_from(packet.get(24..40)?).ok()?.into(),
            protocol: *packet.get(6)?,
            port: port(42),
        }),
        _ => None,
    }
}
