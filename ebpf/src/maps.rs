//! Every map: who writes it, who reads it, when an entry dies.
//!
//! All are pinned, so that they outlive the process that made them, but for the ring of events. Those that
//! decide anything are plain hashes, allocated whole at creation: an LRU could evict an entry and let
//! connections past. Where an LRU is used, a lost entry costs a detail of the record or of a count.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray},
};
use sallyport_common::{
    Connecting, Connection, Counter, Destination, Listener, MAX_CONNECTIONS, MAX_DESTINATIONS,
    MAX_GUARDED, MAX_PODS, PodState, Settings,
};

/// What the programs have to know of the node. User space writes the one element before it attaches a
/// program, and again when a setting changes; the connect and bind hooks read it.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// What a pod is, by the inode number of its cgroup. User space writes, the connect hooks of `kubepods` read.
/// An entry lives until user space has seen the pod go.
#[map]
static PODS: HashMap<u64, PodState> = HashMap::with_max_entries(MAX_PODS, 0);

/// Where connections must not go directly, and which loopback port takes them instead.
///
/// User space writes, the connect hooks read. An entry lives until user space removes it.
#[map]
static DESTINATIONS: HashMap<Destination, Listener> =
    HashMap::with_max_entries(2 * MAX_DESTINATIONS, 0);

/// Where no packet of an agent may go, by address and port, or address and 0 for every port. A set.
///
/// User space writes, and keeps each address in `GUARDED_ADDRESSES` for as long as it is in an entry here. The
/// connect hooks of agents and `agent_egress` read. An entry lives until user space removes it.
#[map]
static GUARDED: HashMap<Destination, u8> = HashMap::with_max_entries(2 * MAX_GUARDED, 0);

/// The addresses in `GUARDED`, so that a packet to any other costs one look. A set, written and read as that.
#[map]
static GUARDED_ADDRESSES: HashMap<[u32; 4], u8> = HashMap::with_max_entries(2 * MAX_GUARDED, 0);

/// Who called `connect`, by socket cookie. The connect hooks of agents write; `agent_sockops` reads and removes
/// when the socket has got its port, a moment later. Where that never comes, newer entries push it out.
#[map]
static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// Which process (its thread group) a connection is from. `agent_sockops` writes, user space reads once the
/// connection has been accepted. An entry lives until newer ones push it out or its port is used again.
#[map]
static CONNECTIONS: LruHashMap<Connection, u32> = LruHashMap::with_max_entries(MAX_CONNECTIONS, 0);

/// How often a pod has connected to a destination, agent or not, by the inode number of its cgroup.
///
/// The connect hooks write, user space reads. An entry lives until those of busier pods push it out. Of a
/// pod that is not classified it is not known which level is the pod's, and both are counted.
#[map]
static API_CONNECTIONS: LruPerCpuHashMap<u64, u64> =
    LruPerCpuHashMap::with_max_entries(MAX_PODS, 0);

/// How often each decision was taken. The hooks write, user space sums over CPUs; it only grows.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

#[inline(always)]
pub(crate) fn pod(cgroup: u64) -> Option<PodState> {
    // SAFETY: the value is four aligned bytes, so no update can tear it. Should the entry be removed and
    // reused at this very moment, what is read is another pod's state: this pod's cgroup has just gone.
    unsafe { PODS.get(cgroup) }.copied()
}

/// The listener that stands in for `destination`, if it is one; port 0 where connections to it are denied.
#[inline(always)]
pub(crate) fn listener_for(destination: &Destination) -> Option<Listener> {
    // SAFETY: the value is two aligned bytes, so no update can tear it. Should the entry be removed
    // and reused at this very moment, what is read is another destination's listener: closed still.
    unsafe { DESTINATIONS.get(destination) }.copied()
}

#[inline(always)]
pub(crate) fn is_guarded_address(address: &[u32; 4]) -> bool {
    GUARDED_ADDRESSES.get_ptr(address).is_some()
}

/// Whether the port is guarded on an address that is known to be guarded.
#[inline(always)]
pub(crate) fn is_guarded_port(destination: &Destination) -> bool {
    GUARDED.get_ptr(destination).is_some()
        || GUARDED
            .get_ptr(Destination::v6(destination.address, 0))
            .is_some()
}

/// Remembers who connects. A failure costs the record a detail.
#[inline(always)]
pub(crate) fn remember_connecting(socket: u64, connecting: &Connecting) {
    let _ = CONNECTING.insert(socket, connecting, 0);
}

/// Gives a connection that has got its local port to whoever asked for it.
#[inline(always)]
pub(crate) fn remember_connection(socket: u64, local_port: u32) {
    // SAFETY: the key is the cookie of this very socket, which connects once at a time.
    let Some(Connecting {
        netns_cookie,
        tgid,
        family,
    }) = (unsafe { CONNECTING.get(socket) }).copied()
    else {
        return;
    };
    let connection = Connection {
        netns_cookie,
        local_port,
        family,
    };
    let _ = CONNECTIONS.insert(connection, tgid, 0);
    let _ = CONNECTING.remove(socket);
}

/// Counts one connection of a pod to a destination.
#[inline(always)]
pub(crate) fn count_api_connection(cgroup: u64) {
    match API_CONNECTIONS.get_ptr_mut(cgroup) {
        // SAFETY: as in `count`, and the kernel keeps the value while the program runs.
        Some(count) => unsafe { *count += 1 },
        None => {
            let _ = API_CONNECTIONS.insert(cgroup, 1, 0);
        }
    }
}

/// Counts one decision. A lost count changes no decision, so a missing slot is passed over.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot is this CPU's own, and the kernel keeps a program on its CPU. Another
        // program that preempts this one here can cost a count, and nothing else.
        unsafe { *slot += 1 };
    }
}
