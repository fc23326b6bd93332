//! Listening sockets inside of pods, by pod and destination: opened, held, handed on and closed here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU16,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use nix::sys::stat::fstat;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::netns::{NetnsError, PodNetns};
use crate::{handover::CapturedPod, redirect::netns_cookie};

/// How many clients wait in the kernel while no gateway accepts; beyond them a client's SYN is repeated.
const BACKLOG: i32 = 1024;
/// Within a machine.
const CANARY_PATIENCE: Duration = Duration::from_millis(500);

/// A pod's listeners, all of one network namespace.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pod: CapturedPod,
    pub(super) listeners: BTreeMap<SocketAddr, HeldListener>,
}

#[derive(Clone, Debug)]
pub(super) struct HeldListener {
    pub(super) socket: Arc<OwnedFd>,
    /// The socket's own number, the same in every process that holds it.
    pub(super) inode: u64,
    pub(super) port: NonZeroU16,
}

/// What one attempt to open listeners came to.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) netns_cookie: u64,
    pub(super) listeners: BTreeMap<SocketAddr, HeldListener>,
    /// Nothing can listen there: connections to these are refused.
    pub(super) refused: BTreeMap<SocketAddr, String>,
    /// Somebody listens there already.
    pub(super) in_use: BTreeSet<NonZeroU16>,
}

/// Why what is offered as a pod's listener is not one.
#[derive(Debug)]
pub(super) struct NotOurs(&'static str);

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl HeldListener {
    fn open(destination: SocketAddr, port: NonZeroU16) -> io::Result<Self> {
        let family = match destination {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        // Connections that have ended keep the port from whoever binds it without this.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &loopback(destination, port))?;
        listen(&socket, BACKLOG)?;
        Self::of(socket, port)
    }

    fn of(socket: OwnedFd, port: NonZeroU16) -> io::Result<Self> {
        let inode = fstat(&socket)?.st_ino;
        Ok(Self {
            socket: Arc::new(socket),
            inode,
            port,
        })
    }

    /// Takes back what was opened before. The other side is not trusted with more than the pod's connections: what
    /// listens elsewhere, or in another network than it says, is not taken.
    pub(super) fn adopt(
        socket: OwnedFd,
        destination: SocketAddr,
        cookie: u64,
    ) -> Result<Self, NotOurs> {
        let unusable = |_| NotOurs("it is no socket");
        if !sockopt::socket_acceptconn(&socket).map_err(|_| NotOurs("it is no socket"))? {
            return Err(NotOurs("it does not listen"));
        }
        if netns_cookie(&socket).map_err(unusable)? != cookie {
            return Err(NotOurs("it is in another network than its pod"));
        }
        let socket = TcpListener::from(socket);
        let address = socket.local_addr().map_err(unusable)?;
        let port = NonZeroU16::new(address.port()).ok_or(NotOurs("it has no port"))?;
        if address != loopback(destination, port) {
            return Err(NotOurs(
                "it is not on the loopback address of its destination",
            ));
        }
        Self::of(socket.into(), port).map_err(unusable)
    }
}

/// Opens a listener in `netns` for each of `wanted`.
pub(super) fn open(
    netns: &PodNetns,
    wanted: &BTreeMap<SocketAddr, NonZeroU16>,
) -> Result<Opened, NetnsError> {
    netns
        .inside(|| open_here(wanted))?
        .map_err(NetnsError::Entering)
}

fn open_here(wanted: &BTreeMap<SocketAddr, NonZeroU16>) -> io::Result<Opened> {
    let mut opened = Opened {
        netns_cookie: cookie_here()?,
        ..Opened::default()
    };
    for (destination, port) in wanted {
        match HeldListener::open(*destination, *port) {
            Ok(listener) => drop(opened.listeners.insert(*destination, listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                opened.in_use.insert(*port);
                let why = format!(
                    "{} inside of it is held by someone else",
                    loopback(*destination, *port)
                );
                opened.refused.insert(*destination, why);
            }
            Err(error) => {
                let no_v6 = destination.is_ipv6()
                    && error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT);
                let why = if no_v6 {
                    "IPv6 is off on its loopback".to_owned()
                } else {
                    format!(
                        "listening on {} inside of it: {error}",
                        loopback(*destination, *port)
                    )
                };
                opened.refused.insert(*destination, why);
            }
        }
    }
    Ok(opened)
}

/// The cookie of the calling thread's namespace.
pub(super) fn cookie_here() -> io::Result<u64> {
    let flags = SocketFlags::CLOEXEC;
    netns_cookie(socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// What is to be found in a pod's namespace: the cookie, and which socket listens for which destination.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) netns_cookie: u64,
    pub(super) listeners: BTreeMap<SocketAddr, (NonZeroU16, u64)>,
    /// Whether to connect. Nobody takes a canary away where there is no gateway, and many would fill the queue.
    pub(super) connect: bool,
}

/// Looks for `expected` in `netns`, the pod's namespace of this moment: each listener is the only socket that listens
/// on its port, and the kernel completes a connection to it. Who accepts it is the gateway's part.
pub(super) fn examine(netns: &PodNetns, expected: &Expected) -> Result<Found, NetnsError> {
    netns
        .inside(|| examine_here(expected))?
        .map_err(NetnsError::Entering)
}

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    AsExpected,
    /// The pod got another network, so nothing of ours is in it.
    OtherNetwork,
    /// For these destinations others listen, too or instead.
    Others(BTreeMap<SocketAddr, String>),
    /// Ours are there, but no connection to them comes about.
    Silent(String),
}

fn examine_here(expected: &Expected) -> io::Result<Found> {
    if cookie_here()? != expected.netns_cookie {
        return Ok(Found::OtherNetwork);
    }
    let listening = listening_here()?;
    let mut wrong = BTreeMap::new();
    for (destination, (port, inode)) in &expected.listeners {
        let on_port: Vec<u64> = listening
            .iter()
            .filter(|socket| socket.takes(loopback(*destination, *port)))
            .map(|socket| socket.inode)
            .collect();
        if on_port != [*inode] {
            let others = on_port.iter().filter(|other| *other != inode).count();
            let ours = if on_port.contains(inode) {
                "ours and"
            } else {
                "not ours, but"
            };
            wrong.insert(
                *destination,
                format!("on port {port} inside of it listen: {ours} {others} others"),
            );
        }
    }
    if !wrong.is_empty() {
        return Ok(Found::Others(wrong));
    }
    let canaries = one_of_each_family(expected)
        .into_iter()
        .filter(|_| expected.connect);
    let mut silent = canaries.filter_map(|destination| {
        let address = loopback(destination, expected.listeners[&destination].0);
        let failed = TcpStream::connect_timeout(&address, CANARY_PATIENCE).err()?;
        Some(format!(
            "a connection to {address} inside of it fails: {failed}"
        ))
    });
    Ok(silent.next().map_or(Found::AsExpected, Found::Silent))
}

fn one_of_each_family(expected: &Expected) -> Vec<SocketAddr> {
    let destinations = || expected.listeners.keys();
    let v4 = destinations().find(|destination| destination.is_ipv4());
    let v6 = destinations().find(|destination| destination.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}

/// Where connections for `destination` arrive.
fn loopback(destination: SocketAddr, port: NonZeroU16) -> SocketAddr {
    let ip = match destination {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, port.get())
}

mod table;

use table::listening_here;

#[cfg(test)]
mod tests;
