//! `connect(2)` and what shares its path (fast open, io_uring, MPTCP subflows): the address is
//! rewritten before the kernel picks a route, so nothing is sent to the original destination.
//!
//! The socket's protocol is deliberately not looked at. A datagram socket that connects to a
//! destination ends on loopback as well, where no datagram socket listens.

use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_socket_cookie, macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use sallyport_common::{AF_INET, AF_INET6, Connecting, Counter, Destination, Listener};

use crate::{classify, maps, report};

const LOOPBACK_V4: u32 = 0x7f00_0001_u32.to_be();
const LOOPBACK_V6: [u32; 4] = [0, 0, 0, 1_u32.to_be()];

/// What the kernel expects: the call goes on, or fails with `EPERM`.
const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// What becomes of a connection.
enum Decision {
    Pass,
    Redirect(Listener),
    Deny(Counter),
}

/// `connect` on an IPv4 socket of any pod.
#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    let destination = destination_v4(&ctx);
    match for_any_pod(&ctx, &destination) {
        Decision::Pass => ALLOW,
        Decision::Redirect(listener) => redirect_v4(&ctx, &destination, listener),
        Decision::Deny(counter) => deny(&ctx, &destination, counter),
    }
}

/// `connect` on an IPv6 socket of any pod, v4-mapped addresses included.
#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    let destination = destination_v6(&ctx);
    match for_any_pod(&ctx, &destination) {
        Decision::Pass => ALLOW,
        Decision::Redirect(listener) => redirect_v6(&ctx, &destination, listener),
        Decision::Deny(counter) => deny(&ctx, &destination, counter),
    }
}

/// `connect` on an IPv4 socket that was made in an agent pod, whoever uses it.
#[cgroup_sock_addr(connect4)]
pub(crate) fn agent_connect4(ctx: SockAddrContext) -> i32 {
    let destination = destination_v4(&ctx);
    match for_agent(&destination) {
        Decision::Pass => ALLOW,
        Decision::Redirect(listener) => {
            remember_caller(&ctx, AF_INET);
            redirect_v4(&ctx, &destination, listener)
        }
        Decision::Deny(counter) => deny_for_all(&ctx, &destination, counter),
    }
}

/// `connect` on an IPv6 socket that was made in an agent pod, whoever uses it; v4-mapped addresses included.
#[cgroup_sock_addr(connect6)]
pub(crate) fn agent_connect6(ctx: SockAddrContext) -> i32 {
    let destination = destination_v6(&ctx);
    match for_agent(&destination) {
        Decision::Pass => ALLOW,
        Decision::Redirect(listener) => {
            let family = if destination.is_v4() {
                AF_INET
            } else {
                AF_INET6
            };
            remember_caller(&ctx, family);
            redirect_v6(&ctx, &destination, listener)
        }
        Decision::Deny(counter) => deny_for_all(&ctx, &destination, counter),
    }
}

/// Most connections on a node end at the first line, with one look into one map.
#[inline(always)]
fn for_any_pod(ctx: &SockAddrContext, destination: &Destination) -> Decision {
    let Some(listener) = maps::listener_for(destination) else {
        return Decision::Pass;
    };
    if classify::is_agent(ctx) {
        to_listener(listener)
    } else {
        Decision::Pass
    }
}

#[inline(always)]
fn for_agent(destination: &Destination) -> Decision {
    if let Some(listener) = maps::listener_for(destination) {
        classify::count_connection_of_pod();
        return to_listener(listener);
    }
    if maps::is_guarded_address(&destination.address) && maps::is_guarded_port(destination) {
        return Decision::Deny(Counter::DeniedGuarded);
    }
    Decision::Pass
}

#[inline(always)]
fn to_listener(listener: Listener) -> Decision {
    match listener {
        Listener { port: 0 } => Decision::Deny(Counter::Denied),
        listener => Decision::Redirect(listener),
    }
}

#[inline(always)]
fn redirect_v4(ctx: &SockAddrContext, destination: &Destination, listener: Listener) -> i32 {
    // SAFETY: the kernel passes a valid context that nothing else uses while the program runs.
    unsafe {
        (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(LOOPBACK_V4);
        (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(listener.port));
    }
    redirected(ctx, destination, listener, Counter::RedirectedV4)
}

#[inline(always)]
fn redirect_v6(ctx: &SockAddrContext, destination: &Destination, listener: Listener) -> i32 {
    let counter = if destination.is_v4() {
        write_word_v6(ctx, 3, LOOPBACK_V4);
        Counter::RedirectedV4Mapped
    } else {
        write_word_v6(ctx, 0, LOOPBACK_V6[0]);
        write_word_v6(ctx, 1, LOOPBACK_V6[1]);
        write_word_v6(ctx, 2, LOOPBACK_V6[2]);
        write_word_v6(ctx, 3, LOOPBACK_V6[3]);
        Counter::RedirectedV6
    };
    // SAFETY: as in `redirect_v4`.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(listener.port)) };
    redirected(ctx, destination, listener, counter)
}

#[inline(always)]
fn redirected(
    ctx: &SockAddrContext,
    destination: &Destination,
    listener: Listener,
    counter: Counter,
) -> i32 {
    maps::count(counter);
    report::redirected(ctx, destination, listener);
    ALLOW
}

#[inline(always)]
fn deny(ctx: &SockAddrContext, destination: &Destination, counter: Counter) -> i32 {
    maps::count(counter);
    report::denied(ctx, destination);
    DENY
}

/// The call has failed by then, but the programs of `kubepods` run all the same: for them it goes nowhere, so
/// that nothing is counted twice.
#[inline(always)]
fn deny_for_all(ctx: &SockAddrContext, destination: &Destination, counter: Counter) -> i32 {
    // SAFETY: as in `redirect_v4`.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(0) };
    deny(ctx, destination, counter)
}

#[inline(always)]
fn remember_caller(ctx: &SockAddrContext, family: u32) {
    let connecting = Connecting {
        netns_cookie: classify::netns_cookie(ctx),
        tgid: ctx.tgid(),
        family,
    };
    // SAFETY: the helper is available to this program type and reads the context's socket.
    let socket = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    maps::remember_connecting(socket, &connecting);
}

// Every access to the context is volatile and of one word: the verifier takes no wider one, and none at an
// address that was computed because the compiler merged two of them.

#[inline(always)]
fn destination_v4(ctx: &SockAddrContext) -> Destination {
    // SAFETY: as in `redirect_v4`.
    let address = unsafe { (&raw const (*ctx.sock_addr).user_ip4).read_volatile() };
    Destination::v4(address, port(ctx))
}

#[inline(always)]
fn destination_v6(ctx: &SockAddrContext) -> Destination {
    // SAFETY: as in `redirect_v4`.
    let word =
        |index: usize| unsafe { (&raw const (*ctx.sock_addr).user_ip6[index]).read_volatile() };
    Destination::v6([word(0), word(1), word(2), word(3)], port(ctx))
}

/// The port as it stands in the context: the low half of the word, in network byte order.
#[inline(always)]
fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: as in `redirect_v4`.
    unsafe { (&raw const (*ctx.sock_addr).user_port).read_volatile() as u16 }
}

#[inline(always)]
fn write_word_v6(ctx: &SockAddrContext, index: usize, word: u32) {
    // SAFETY: as in `redirect_v4`; every caller's index is a constant below four.
    unsafe { (&raw mut (*ctx.sock_addr).user_ip6[index]).write_volatile(word) };
}
