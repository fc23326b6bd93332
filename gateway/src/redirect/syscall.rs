//! The calls to the kernel that no library makes for us. All unsafe code of this crate is here.
//!
//! aya makes links and pins them, but neither exchanges the program of a link to a cgroup, nor asks a cgroup what
//! is attached to it, nor tells which cgroup a link is for; and it hides the descriptors that this takes.
#![allow(unsafe_code, reason = "raw system calls, each argued for")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::libc;

use super::hooks::AttachType;

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

/// Attaches a program to a cgroup, beside those of others. It stays for as long as the link is open or pinned.
pub(super) fn create_link(
    program: impl AsFd,
    cgroup: impl AsFd,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    /// `bpf_attr.link_create` of `linux/bpf.h`.
    #[repr(C)]
    struct LinkCreate {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        /// None: the kernel makes a link "multi" by itself, and refuses to be asked for it.
        flags: u32,
    }
    let mut attributes = LinkCreate {
        prog_fd: number(&program),
        target_fd: number(&cgroup),
        attach_type: attach_type as u32,
        flags: 0,
    };
    // SAFETY: the type is the one of this command, and both descriptors are borrowed, so they stay open.
    let link = unsafe { bpf(Command::LinkCreate, &mut attributes) }?;
    // SAFETY: the kernel returns a new descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Makes `link` run `program` from now on; no connection is made in between without one of the two.
pub(super) fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    /// `bpf_attr.link_update` of `linux/bpf.h`.
    #[repr(C)]
    struct LinkUpdate {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let mut attributes = LinkUpdate {
        link_fd: number(&link),
        new_prog_fd: number(&program),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the type is the one of this command, and both descriptors are borrowed, so they stay open.
    unsafe { bpf(Command::LinkUpdate, &mut attributes) }.map(drop)
}

/// Takes a link's program off its cgroup, although others may hold the link open or pinned.
pub(super) fn detach_link(link: impl AsFd) -> io::Result<()> {
    /// `bpf_attr.link_detach` of `linux/bpf.h`.
    #[repr(C)]
    struct LinkDetach {
        link_fd: u32,
    }
    let mut attributes = LinkDetach {
        link_fd: number(&link),
    };
    // SAFETY: the type is the one of this command, and the descriptor is borrowed, so it stays open.
    unsafe { bpf(Command::LinkDetach, &mut attributes) }.map(drop)
}

/// What a link to a cgroup does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LinkInfo {
    pub(super) link: u32,
    pub(super) program: u32,
    /// 0 once the cgroup is gone.
    pub(super) cgroup: u64,
    pub(super) attach_type: u32,
}

/// What `descriptor` does, if it is a link to a cgroup.
pub(super) fn link_info(descriptor: impl AsFd) -> io::Result<Option<LinkInfo>> {
    /// `bpf_link_info` of `linux/bpf.h`, up to its member `cgroup`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        cgroup_id: u64,
        attach_type: u32,
        tail: u32,
    }
    /// `bpf_attr.info` of `linux/bpf.h`.
    #[repr(C)]
    struct GetInfo {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    const BPF_LINK_TYPE_CGROUP: u32 = 3;
    let mut info = Info::default();
    let mut attributes = GetInfo {
        bpf_fd: number(&descriptor),
        info_len: size_of::<Info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the type is the one of this command, the descriptor is borrowed, and the kernel writes at most
    // `info_len` bytes to `info`, all of them integers.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attributes) }?;
    Ok((info.kind == BPF_LINK_TYPE_CGROUP).then_some(LinkInfo {
        link: info.id,
        program: info.prog_id,
        cgroup: info.cgroup_id,
        attach_type: info.attach_type,
    }))
}

/// `bpf_attr` of `linux/bpf.h` for the commands that pin.
#[repr(C)]
struct Pin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Gives a link or map a name in the BPF file system, which keeps it.
pub(super) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    let mut attributes = Pin {
        pathname: path.as_ptr() as u64,
        bpf_fd: number(&object),
        file_flags: 0,
    };
    // SAFETY: the type is the one of this command, the descriptor is borrowed, and the path lives throughout.
    unsafe { bpf(Command::ObjPin, &mut attributes) }.map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    let mut attributes = Pin {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the type is the one of this command, and the path lives throughout.
    let object = unsafe { bpf(Command::ObjGet, &mut attributes) }?;
    // SAFETY: the kernel returns a new descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(object) })
}

/// What is attached to one cgroup, those above and below left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Attached {
    pub(super) programs: Vec<u32>,
    flags: u32,
}

impl Attached {
    /// Whether programs on cgroups below are shut out, or on this one a second.
    pub(super) fn forbids_others(&self, below: bool) -> bool {
        const ALLOW_OVERRIDE: u32 = 1;
        const ALLOW_MULTI: u32 = 2;
        let allows = if below {
            ALLOW_MULTI | ALLOW_OVERRIDE
        } else {
            ALLOW_MULTI
        };
        !self.programs.is_empty() && self.flags & allows == 0
    }
}

/// Asks a cgroup for the programs that are attached to itself.
pub(super) fn query(cgroup: impl AsFd, attach_type: AttachType) -> io::Result<Attached> {
    /// `bpf_attr.query` of `linux/bpf.h`, whole: the kernel writes to its last member as well.
    #[repr(C)]
    struct ProgQuery {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
        unused: [u64; 4],
    }
    /// The kernel allows no more on one cgroup.
    const MOST: usize = 64;
    let mut programs = vec![0_u32; MOST];
    let mut attributes = ProgQuery {
        target_fd: number(&cgroup),
        attach_type: attach_type as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: programs.as_mut_ptr() as u64,
        prog_cnt: MOST as u32,
        padding: 0,
        unused: [0; 4],
    };
    // SAFETY: the type is the one of this command, the descriptor is borrowed, and the kernel writes at most
    // `prog_cnt` numbers to `programs`, which has that many.
    unsafe { bpf(Command::ProgQuery, &mut attributes) }?;
    programs.truncate(attributes.prog_cnt as usize);
    Ok(Attached {
        programs,
        flags: attributes.attach_flags,
    })
}

/// `bpf_cmd` of `linux/bpf.h`.
#[derive(Clone, Copy)]
enum Command {
    ObjPin = 6,
    ObjGet = 7,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// What the kernel returns where it does not return an error.
///
/// # Safety
///
/// `T` is the part of `bpf_attr` that belongs to the command, without holes, and its descriptors and pointers
/// are valid throughout. The kernel takes every attribute behind it for zero.
unsafe fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attributes`, which is borrowed for that; the
    // rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn number(descriptor: &impl AsFd) -> u32 {
    u32::try_from(descriptor.as_fd().as_raw_fd()).expect("an open descriptor is not negative")
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
