//! `bind(2)` in agent pods: the reserved ports belong to the gateway's listeners.
//!
//! Without this, a process with the listener's user id could share its port by `SO_REUSEPORT`, or take one
//! that is not open yet, and read what other containers of its pod send to the API server.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use sallyport_common::Counter;

use crate::{maps, report};

#[cgroup_sock_addr(bind4)]
pub(crate) fn agent_bind4(ctx: SockAddrContext) -> i32 {
    verdict(&ctx)
}

#[cgroup_sock_addr(bind6)]
pub(crate) fn agent_bind6(ctx: SockAddrContext) -> i32 {
    verdict(&ctx)
}

/// 1 lets the call go on, 0 makes it fail with `EPERM`. The address does not matter: `::` takes IPv4's as well.
#[inline(always)]
fn verdict(ctx: &SockAddrContext) -> i32 {
    // SAFETY: the kernel passes a valid context that nothing else uses while the program runs.
    let port = unsafe { (&raw const (*ctx.sock_addr).user_port).read_volatile() };
    let port = u16::from_be(port as u16);
    if !is_reserved(port) {
        return 1;
    }
    maps::count(Counter::DeniedBind);
    report::denied_bind(ctx, port);
    0
}

/// Every port is where the settings cannot be read.
#[inline(always)]
fn is_reserved(port: u16) -> bool {
    maps::settings().is_none_or(|settings| port.wrapping_sub(settings.first_port) < settings.ports)
}
