//! Packets that a process writes itself, in hexadecimal from the network header on, or from the link's.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{MsgFlags, sendto},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const IPPROTO_RAW: i32 = 255;

pub(crate) fn send_v4(destination: Ipv4Addr, packet: &str) -> Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    send(&socket, packet, SocketAddrV4::new(destination, 0).into())
}

/// A socket of this protocol expects the header, as the one above does.
pub(crate) fn send_v6(destination: Ipv6Addr, packet: &str) -> Result<String> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    let address = SocketAddrV6::new(destination, 0, 0, 0);
    send(&socket, packet, address.into())
}

fn send(socket: &Socket, packet: &str, to: SockAddr) -> Result<String> {
    socket.send_to(&bytes(packet)?, &to)?;
    Ok("sent".to_owned())
}

/// A whole frame, past the network layer and everything that listens there.
pub(crate) fn send_frame(interface: &str, frame: &str) -> Result<String> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let link = getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .with_context(|| format!("no interface {interface}"))?;
    sendto(socket.as_raw_fd(), &bytes(frame)?, &link, MsgFlags::empty())?;
    Ok("sent".to_owned())
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>> {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
