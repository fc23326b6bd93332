//! Sallyport's kernel programs: one module per hook family, every map in [`maps`].
//!
//! | program | attached to | decides |
//! |---|---|---|
//! | `connect4`, `connect6` | `kubepods` | which pods' connections to a destination are redirected |
//! | `agent_connect4`, `agent_connect6` | each agent pod | the same for sockets of the pod, whoever uses them; guarded ports |
//! | `agent_bind4`, `agent_bind6` | each agent pod | that nobody takes a listener's port |
//! | `agent_egress` | each agent pod | that no packet goes where connections may not |
//! | `agent_sockops` | each agent pod | nothing: it notes who connected |
//!
//! The rule for all of them: once a destination has matched, every path redirects, denies or drops,
//! unless the pod is known to be no agent. What does not match is none of our business and passes untouched.
//!
//! The programs of a pod run before those of `kubepods`, and see a socket by the cgroup that it was made in; a
//! connection they have redirected goes to loopback by then, so nothing is decided twice.
#![no_std]
#![no_main]

mod bind;
mod classify;
mod connect;
mod egress;
mod maps;
mod report;
mod sockops;

/// The kernel loads no program that could panic, so this is never reached: it satisfies the linker.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
