//! What no library offers safely.
#![allow(unsafe_code, reason = "raw system calls, each argued for")]

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, squeue::Flags, types::Fd};
use nix::libc;
use socket2::{SockAddr, Socket};

/// How a ring is told of a call.
pub(crate) enum Ring {
    Plain,
    /// A thread of the kernel takes it.
    Polled,
    /// A worker of the kernel does it.
    Async,
}

pub(crate) fn connect_by_io_uring(
    socket: Socket,
    address: SocketAddr,
    kind: Ring,
) -> Result<Socket> {
    const IDLE_MILLISECONDS: u32 = 1000;
    let mut builder = IoUring::builder();
    if matches!(kind, Ring::Polled) {
        builder.setup_sqpoll(IDLE_MILLISECONDS);
    }
    let mut ring: IoUring = builder.build(8).context("io_uring")?;
    let address = SockAddr::from(address);
    let mut call = opcode::Connect::new(
        Fd(socket.as_raw_fd()),
        address.as_ptr().cast(),
        address.len(),
    )
    .build();
    if matches!(kind, Ring::Async) {
        call = call.flags(Flags::ASYNC);
    }
    // SAFETY: socket and address live until the call has been completed, below.
    unsafe { ring.submission().push(&call) }?;
    ring.submit_and_wait(1)?;
    let completed = ring.completion().next().context("a completion")?;
    match completed.result() {
        0 => Ok(socket),
        error => Err(io::Error::from_raw_os_error(-error).into()),
    }
}

/// Connects to an address of the family `AF_UNSPEC`.
pub(crate) fn disconnect(socket: &Socket) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: the kernel reads as many bytes as the address has, and the descriptor is open.
    let status = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            &raw const nowhere,
            size_of_val(&nowhere) as libc::socklen_t,
        )
    };
    result(status)
}

pub(crate) fn set_fast_open_connect(socket: &Socket) -> io::Result<()> {
    const TCP_FASTOPEN_CONNECT: libc::c_int = 30;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads as many bytes as the number has, and the descriptor is open.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_FASTOPEN_CONNECT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    result(status)
}

fn result(status: libc::c_int) -> io::Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a descriptor that has just arrived.
pub(crate) fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for this process, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
