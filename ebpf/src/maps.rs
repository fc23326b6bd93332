//! Every map: who writes it, who reads it, when an entry dies.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use sallyport_common::{Counter, Destination, Listener, MAX_DESTINATIONS};

/// Where connections must not go directly, and which loopback port takes them instead.
///
/// User space writes, the connect hooks read. An entry lives until user space removes it. A plain
/// hash, allocated whole at creation: an LRU could evict an entry and let connections past.
#[map]
static DESTINATIONS: HashMap<Destination, Listener> =
    HashMap::with_max_entries(MAX_DESTINATIONS, 0);

/// How often each decision was taken. The hooks write, user space sums over CPUs; it only grows.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// The destination is in the map, but nothing listens for it.
pub(crate) struct NoListener;

/// The listener that stands in for `destination`; none if connections to it are to pass.
#[inline(always)]
pub(crate) fn listener_for(destination: &Destination) -> Result<Option<Listener>, NoListener> {
    // SAFETY: the value is two aligned bytes, so no update can tear it. Should the entry be removed
    // and reused at this very moment, what is read is another destination's listener: closed still.
    match unsafe { DESTINATIONS.get(destination) }.copied() {
        None => Ok(None),
        Some(Listener { port: 0 }) => Err(NoListener),
        Some(listener) => Ok(Some(listener)),
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
