//! The events that user space logs. Where nobody reads them the kernel drops them, and decides the same.

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_current_cgroup_id,
    programs::{SkBuffContext, SockAddrContext},
};
use aya_log_ebpf::{debug, warn};
use sallyport_common::{Destination, Listener};

/// Left out of the program by the kernel unless the level is asked for at loading: it takes as long as half of
/// the `connect` that it tells of, whose listener's end is on record anyway.
#[inline(always)]
pub(crate) fn redirected(ctx: &SockAddrContext, destination: &Destination, listener: Listener) {
    debug!(
        ctx,
        "redirected orig_dst=[{:i}]:{} listener_port={} pid={} cgroup={}",
        octets(&destination.address),
        u16::from_be(destination.port),
        u16::from_be(listener.port),
        ctx.tgid(),
        cgroup_id(),
    );
}

#[inline(always)]
pub(crate) fn denied(ctx: &SockAddrContext, destination: &Destination) {
    warn!(
        ctx,
        "denied orig_dst=[{:i}]:{} pid={} cgroup={}",
        octets(&destination.address),
        u16::from_be(destination.port),
        ctx.tgid(),
        cgroup_id(),
    );
}

#[inline(always)]
pub(crate) fn denied_bind(ctx: &SockAddrContext, port: u16) {
    warn!(
        ctx,
        "denied bind port={} pid={} cgroup={}",
        port,
        ctx.tgid(),
        cgroup_id(),
    );
}

/// Without a process: a packet leaves in whatever context the kernel is in.
#[inline(always)]
pub(crate) fn dropped(ctx: &SkBuffContext, address: &[u32; 4]) {
    warn!(ctx, "dropped packet dst=[{:i}]", octets(address));
}

#[inline(always)]
fn cgroup_id() -> u64 {
    // SAFETY: the helper takes no arguments and is available to this program type.
    unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn octets(address: &[u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen plain bytes, and the words are in network byte order already.
    unsafe { core::mem::transmute(*address) }
}
