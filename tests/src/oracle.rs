//! What really leaves a pod, seen from outside and independent of everything of ours.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
        sockopt::RcvBufForce,
    },
};

use crate::{Cluster, NetworkedPod};

/// Room for what arrives while the reader waits for a core.
const BUFFER: usize = 64 << 20;
const LOOK_EVERY_MS: u16 = 100;
/// The headers are enough.
const LONGEST: usize = 256;

/// One IP packet that a pod has sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// An IP protocol number; of IPv6 that of the first header.
    pub protocol: u8,
    /// Of TCP and UDP.
    pub destination_port: Option<u16>,
}

/// A packet socket on the host's end of a pod's interface, which keeps every packet that comes out of it,
/// before any DNAT.
pub struct Oracle {
    tap: Arc<Tap>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

struct Tap {
    socket: OwnedFd,
    interface: usize,
    packets: Mutex<Vec<Packet>>,
}

impl Oracle {
    /// Sees everything that `pod` sends from here on.
    pub fn on(cluster: &Cluster, pod: &NetworkedPod) -> Result<Self> {
        let netns = cluster
            .node_netns
            .as_ref()
            .context("this cluster's node has no network")?;
        let netns = File::open(netns).with_context(|| format!("opening {}", netns.display()))?;
        let interface = pod.host_interface();
        let open = thread::spawn(move || open(&netns, &interface));
        let tap = Arc::new(open.join().map_err(|_| anyhow!("opening panicked"))??);
        let ended = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (tap, ended) = (Arc::clone(&tap), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    tap.wait_and_drain();
                }
            }
        });
        Ok(Self {
            tap,
            ended,
            reader: Some(reader),
        })
    }

    /// The packets to any of `addresses` so far, those that wait in the socket included.
    pub fn packets_to(&self, addresses: &[IpAddr]) -> Vec<Packet> {
        let mut packets = self.packets();
        packets.retain(|packet| addresses.contains(&packet.destination));
        packets
    }

    /// All packets so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.tap.drain()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let reader = self.reader.take().map(JoinHandle::join);
        if matches!(reader, Some(Err(_))) {
            eprintln!("the packet oracle's reader panicked");
        }
    }
}

/// On a thread of its own: a socket stays in the namespace in which it was made, its thread need not.
fn open(netns: &File, interface: &str) -> Result<Tap> {
    setns(netns, CloneFlags::CLONE_NEWNET).context("entering the node's network takes root")?;
    let interface = if_nametoindex(interface)
        .with_context(|| format!("the node's network has no {interface}"))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    )
    .context("a packet socket takes root")?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    Ok(Tap {
        socket,
        interface: interface.try_into()?,
        packets: Mutex::default(),
    })
}

impl Tap {
    fn wait_and_drain(&self) {
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LOOK_EVERY_MS)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => drop(self.drain()),
            Err(error) => panic!("polling a packet socket: {error}"),
        }
    }

    /// Reads what the socket holds; returns all packets so far.
    fn drain(&self) -> Vec<Packet> {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; LONGEST];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, from)) if from.is_some_and(|from| self.is_from_pod(&from)) => {
                    packets.extend(Packet::parse(&buffer[..length.min(LONGEST)]));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return packets.clone(),
                Err(error) => panic!("reading a packet socket: {error}"),
            }
        }
    }

    /// The socket sees the whole namespace, and both directions.
    fn is_from_pod(&self, from: &LinkAddr) -> bool {
        from.ifindex() == self.interface && from.pkttype() != nix::libc::PACKET_OUTGOING
    }
}

impl Packet {
    /// Nothing where a frame holds no IP packet.
    fn parse(frame: &[u8]) -> Option<Self> {
        let (kind, packet) = (frame.get(12..14)?, frame.get(14..)?);
        match kind {
            [0x08, 0x00] => Self::v4(packet),
            [0x86, 0xdd] => Self::v6(packet),
            _ => None,
        }
    }

    fn v4(packet: &[u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        };
        let header = usize::from(packet.first()? & 0xf) * 4;
        let protocol = *packet.get(9)?;
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            protocol,
            destination_port: destination_port(protocol, packet.get(header..)),
        })
    }

    fn v6(packet: &[u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let protocol = *packet.get(6)?;
        Some(Self {
            source: address(8)?,
            destination: address(24)?,
            protocol,
            destination_port: destination_port(protocol, packet.get(40..)),
        })
    }
}

fn destination_port(protocol: u8, payload: Option<&[u8]>) -> Option<u16> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let ports: [u8; 2] = payload?.get(2..4)?.try_into().ok()?;
    matches!(protocol, TCP | UDP).then(|| u16::from_be_bytes(ports))
}
