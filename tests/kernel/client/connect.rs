//! Every way to make a connection that the kernel has.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::calls;

const MPTCP: i32 = 262;
/// Nobody is that slow: a test that waits for ever does not say for what.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent before anything is read, by the ways that send with the first packet.
const FIRST: &[u8] = b"hello";

/// The greeting of whoever is reached.
pub(crate) fn by(way: &str, address: SocketAddr) -> Result<String> {
    greeted(connected_by(way, address, FIRST)?)
}

/// Who is reached by way of `way`, of those who wait for a client to speak first.
pub(crate) fn reach(way: &str, address: SocketAddr) -> Result<String> {
    let socket = connected_by(way, address, QUESTION)?;
    match way {
        "fast-open" | "fast-open-connect" => answered(socket),
        _ => asked(socket),
    }
}

/// Whom `way` leads to, without a word to them.
pub(crate) fn touch(way: &str, address: SocketAddr) -> Result<String> {
    let peer = connected_by(way, address, FIRST)?.peer_addr()?;
    Ok(peer
        .as_socket()
        .map_or_else(String::new, |peer| peer.to_string()))
}

/// No TLS: whoever expects that tells the mistake in words of its own, or ends the connection.
const QUESTION: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

pub(crate) fn asked(mut socket: Socket) -> Result<String> {
    socket.write_all(QUESTION)?;
    answered(socket)
}

/// The peer as the socket knows it, and what it said until it ended the connection.
fn answered(mut socket: Socket) -> Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let peer = socket.peer_addr()?.as_socket();
    let mut answer = Vec::new();
    // What came before an end by force was said as well.
    let _end = socket.read_to_end(&mut answer);
    let peer = peer.map_or_else(|| "nobody".to_owned(), |peer| peer.to_string());
    Ok(format!("{peer}: {}", String::from_utf8_lossy(&answer)))
}

fn connected_by(way: &str, address: SocketAddr, first: &[u8]) -> Result<Socket> {
    match way {
        "connect" => to(stream(address)?, address),
        "connect-nonblocking" => nonblocking(address),
        "connect-v6only" => v6only(address),
        "connect-after-unspec" => after_unspec(address),
        "fast-open" => fast_open(address, first),
        "fast-open-connect" => fast_open_connect(address, first),
        "mptcp" => to(multipath(address)?, address),
        "mptcp-nonblocking" => nonblocking_on(multipath(address)?, address),
        "io-uring" => calls::connect_by_io_uring(stream(address)?, address, calls::Ring::Plain),
        "io-uring-sqpoll" => {
            calls::connect_by_io_uring(stream(address)?, address, calls::Ring::Polled)
        }
        "io-uring-async" => {
            calls::connect_by_io_uring(stream(address)?, address, calls::Ring::Async)
        }
        _ => bail!("what is {way}?"),
    }
}

pub(crate) fn greeted(socket: Socket) -> Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = String::new();
    TcpStream::from(socket).read_to_string(&mut greeting)?;
    Ok(greeting)
}

pub(crate) fn stream(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM, None)
}

pub(crate) fn multipath(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::from(MPTCP)))
}

pub(crate) fn to(socket: Socket, address: SocketAddr) -> Result<Socket> {
    socket.connect(&address.into())?;
    Ok(socket)
}

fn nonblocking(address: SocketAddr) -> Result<Socket> {
    nonblocking_on(stream(address)?, address)
}

fn nonblocking_on(socket: Socket, address: SocketAddr) -> Result<Socket> {
    const EINPROGRESS: i32 = 115;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {
            let writable = PollFd::new(socket.as_fd(), PollFlags::POLLOUT);
            poll(&mut [writable], PollTimeout::NONE)?;
        }
        connected => connected?,
    }
    if let Some(error) = socket.take_error()? {
        return Err(error.into());
    }
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn v6only(address: SocketAddr) -> Result<Socket> {
    let socket = stream(address)?;
    socket.set_only_v6(true)?;
    to(socket, address)
}

/// A socket that was connected is disconnected by an address of no family, and connected once more.
fn after_unspec(address: SocketAddr) -> Result<Socket> {
    let socket = to(stream(address)?, address)?;
    calls::disconnect(&socket)?;
    to(socket, address)
}

/// No `connect` at all: data goes with the first packet, or is kept until it may.
fn fast_open(address: SocketAddr, first: &[u8]) -> Result<Socket> {
    let socket = stream(address)?;
    socket.send_to_with_flags(first, &address.into(), nix::libc::MSG_FASTOPEN)?;
    Ok(socket)
}

/// `connect` does nothing yet: the first write does.
fn fast_open_connect(address: SocketAddr, first: &[u8]) -> Result<Socket> {
    let socket = stream(address)?;
    calls::set_fast_open_connect(&socket)?;
    let mut socket = to(socket, address)?;
    match socket.write_all(first) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
        _ => Ok(socket),
    }
}
