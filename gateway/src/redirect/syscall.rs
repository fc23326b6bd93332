//! The two calls to the kernel that no library makes for us. All unsafe code of this crate is here.
#![allow(unsafe_code, reason = "raw system calls, each argued for")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::libc;

/// Which network namespace a socket was made in, for as long as the machine runs: cookies are never reused.
/// `SO_NETNS_COOKIE`, since Linux 5.14.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which is that large, and the descriptor is
    // open throughout, since `socket` borrows it.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match status {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `link` run `program` from now on; no connection is made in between without one of the two.
/// aya 0.14 has this for other kinds of programs, but not for those on cgroups.
pub(super) fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    /// `bpf_attr.link_update` of `linux/bpf.h`.
    #[repr(C)]
    struct LinkUpdate {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    const BPF_LINK_UPDATE: libc::c_int = 29;
    let descriptor = |fd: &dyn AsRawFd| {
        u32::try_from(fd.as_raw_fd()).expect("an open descriptor is not negative")
    };
    let attributes = LinkUpdate {
        link_fd: descriptor(&link.as_fd()),
        new_prog_fd: descriptor(&program.as_fd()),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the kernel reads `size_of::<LinkUpdate>()` bytes of `attributes`, and takes every attribute behind
    // them for zero. Both descriptors are borrowed, so they stay open.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_UPDATE,
            &raw const attributes,
            size_of::<LinkUpdate>(),
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
