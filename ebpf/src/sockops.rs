//! Who made a connection: noted for the record, decides nothing.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_SOCK_OPS_TCP_CONNECT_CB, helpers::bpf_get_socket_cookie,
    macros::sock_ops, programs::SockOpsContext,
};

use crate::maps;

/// Runs before a socket's first packet leaves, when it has its local port; so whoever accepts the connection
/// finds the entry. The connect hook, which knows the task, runs before the port is chosen.
#[sock_ops]
pub(crate) fn agent_sockops(ctx: SockOpsContext) -> u32 {
    // SAFETY: the kernel passes a valid context. Volatile, so that the compiler merges no two accesses into one
    // at a computed address, which the verifier refuses.
    let (op, local_port) = unsafe {
        (
            (&raw const (*ctx.ops).op).read_volatile(),
            (&raw const (*ctx.ops).local_port).read_volatile(),
        )
    };
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        // SAFETY: the helper is available to this program type and reads the context's socket.
        let socket = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        maps::remember_connection(socket, local_port);
    }
    1
}
