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

/// The greeting of whoever is reached.
pub(crate) fn by(way: &str, address: SocketAddr) -> Result<String> {
    greeted(connected_by(way, address)?)
}

fn connected_by(way: &str, address: SocketAddr) -> Result<Socket> {
    match way {
        "connect" => to(stream(address)?, address),
        "connect-nonblocking" => nonblocking(address),
        "connect-v6only" => v6only(address),
        "connect-after-unspec" => after_unspec(address),
        "fast-open" => fast_open(address),
        "fast-open-connect" => fast_open_connect(address),
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
    /// Nobody is that slow: a test that waits for ever does not say for what.
    const PATIENCE: Duration = Duration::from_secs(60);
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
fn fast_open(address: SocketAddr) -> Result<Socket> {
    let socket = stream(address)?;
    socket.send_to_with_flags(b"hello", &address.into(), nix::libc::MSG_FASTOPEN)?;
    Ok(socket)
}

/// `connect` does nothing yet: the first write does.
fn fast_open_connect(address: SocketAddr) -> Result<Socket> {
    let socket = stream(address)?;
    calls::set_fast_open_connect(&socket)?;
    let mut socket = to(socket, address)?;
    match socket.write_all(b"hello") {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
        _ => Ok(socket),
    }
}
