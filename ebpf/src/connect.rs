//! `connect(2)` and what shares its path (fast open, io_uring, MPTCP subflows): the address is
//! rewritten before the kernel picks a route, so nothing is sent to the original destination.
//!
//! The socket's protocol is deliberately not looked at. A datagram socket that connects to a
//! destination ends on loopback as well, where no datagram socket listens.

use aya_ebpf::{
    EbpfContext as _, bindings::bpf_sock_addr, helpers::bpf_get_current_cgroup_id,
    macros::cgroup_sock_addr, programs::SockAddrContext,
};
use aya_log_ebpf::{info, warn};
use sallyport_common::{Counter, Destination, Listener};

use crate::maps::{self, NoListener};

const LOOPBACK_V4: u32 = 0x7f00_0001_u32.to_be();
const LOOPBACK_V6: [u32; 4] = [0, 0, 0, 1_u32.to_be()];

/// `connect` on an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context that nothing else uses while the program runs.
    let sock_addr = unsafe { &mut *ctx.sock_addr };
    let destination = Destination::v4(sock_addr.user_ip4, port(sock_addr));
    verdict(
        &ctx,
        &destination,
        try_connect4(&ctx, sock_addr, &destination),
    )
}

/// `connect` on an IPv6 socket, v4-mapped addresses included.
#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context that nothing else uses while the program runs.
    let sock_addr = unsafe { &mut *ctx.sock_addr };
    let destination = Destination::v6(address_v6(sock_addr), port(sock_addr));
    verdict(
        &ctx,
        &destination,
        try_connect6(&ctx, sock_addr, &destination),
    )
}

#[inline(always)]
fn try_connect4(
    ctx: &SockAddrContext,
    sock_addr: &mut bpf_sock_addr,
    destination: &Destination,
) -> Result<(), NoListener> {
    let Some(listener) = maps::listener_for(destination)? else {
        return Ok(());
    };
    sock_addr.user_ip4 = LOOPBACK_V4;
    sock_addr.user_port = u32::from(listener.port);
    maps::count(Counter::RedirectedV4);
    report_redirected(ctx, destination, listener);
    Ok(())
}

#[inline(always)]
fn try_connect6(
    ctx: &SockAddrContext,
    sock_addr: &mut bpf_sock_addr,
    destination: &Destination,
) -> Result<(), NoListener> {
    let Some(listener) = maps::listener_for(destination)? else {
        return Ok(());
    };
    if destination.is_v4() {
        sock_addr.user_ip6[3] = LOOPBACK_V4;
        maps::count(Counter::RedirectedV4Mapped);
    } else {
        // Word by word: the verifier takes no wider store to the context.
        sock_addr.user_ip6[0] = LOOPBACK_V6[0];
        sock_addr.user_ip6[1] = LOOPBACK_V6[1];
        sock_addr.user_ip6[2] = LOOPBACK_V6[2];
        sock_addr.user_ip6[3] = LOOPBACK_V6[3];
        maps::count(Counter::RedirectedV6);
    }
    sock_addr.user_port = u32::from(listener.port);
    report_redirected(ctx, destination, listener);
    Ok(())
}

/// The port as it stands in the context: the low half of the word, in network byte order.
#[inline(always)]
fn port(sock_addr: &bpf_sock_addr) -> u16 {
    sock_addr.user_port as u16
}

/// Word by word: the verifier takes no wider load from the context.
#[inline(always)]
fn address_v6(sock_addr: &bpf_sock_addr) -> [u32; 4] {
    let words = &sock_addr.user_ip6;
    [words[0], words[1], words[2], words[3]]
}

/// What the kernel expects: 1 lets the call go on, 0 makes it fail with `EPERM`.
#[inline(always)]
fn verdict(
    ctx: &SockAddrContext,
    destination: &Destination,
    outcome: Result<(), NoListener>,
) -> i32 {
    match outcome {
        Ok(()) => 1,
        Err(NoListener) => {
            maps::count(Counter::Denied);
            report_denied(ctx, destination);
            0
        }
    }
}

#[inline(always)]
fn report_redirected(ctx: &SockAddrContext, destination: &Destination, listener: Listener) {
    info!(
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
fn report_denied(ctx: &SockAddrContext, destination: &Destination) {
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
fn cgroup_id() -> u64 {
    // SAFETY: the helper takes no arguments and is available to this program type.
    unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn octets(address: &[u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen plain bytes, and the words are in network byte order already.
    unsafe { core::mem::transmute(*address) }
}
