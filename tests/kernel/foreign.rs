//! A program of someone else: it allows everything.
#![allow(unsafe_code, reason = "raw system calls, each argued for")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use nix::libc;

pub(crate) struct Foreign {
    program: OwnedFd,
    cgroup: File,
}

/// What it says about others on its cgroup and below.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Alone = 0,
    BesideOthers = 2,
}

const CGROUP_INET4_CONNECT: u32 = 10;

/// `bpf_attr` of `linux/bpf.h` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

impl Foreign {
    /// As old software does it: without a link.
    pub(crate) fn attach(cgroup: &Path, mode: Mode) -> Self {
        const BPF_PROG_ATTACH: libc::c_int = 8;
        let foreign = Self {
            program: load(),
            cgroup: File::open(cgroup).unwrap(),
        };
        foreign.call(BPF_PROG_ATTACH, mode as u32).unwrap();
        foreign
    }

    /// Whether a second time is one too many.
    pub(crate) fn is_attached(&self) -> bool {
        const BPF_PROG_ATTACH: libc::c_int = 8;
        let again = self.call(BPF_PROG_ATTACH, Mode::BesideOthers as u32);
        again.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    }

    fn call(&self, command: libc::c_int, attach_flags: u32) -> io::Result<()> {
        let mut attributes = Attach {
            target_fd: self.cgroup.as_raw_fd() as u32,
            attach_bpf_fd: self.program.as_raw_fd() as u32,
            attach_type: CGROUP_INET4_CONNECT,
            attach_flags,
        };
        // SAFETY: the type is the one of both commands, and the descriptors are open.
        unsafe { bpf(command, &mut attributes) }.map(drop)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        const BPF_PROG_DETACH: libc::c_int = 9;
        self.call(BPF_PROG_DETACH, 0).expect("it was attached");
    }
}

/// `r0 = 1; exit`.
fn load() -> OwnedFd {
    /// `bpf_attr` of `linux/bpf.h` for `BPF_PROG_LOAD`.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    const BPF_PROG_LOAD: libc::c_int = 5;
    const CGROUP_SOCK_ADDR: u32 = 18;
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut prog_name = [0; 16];
    prog_name[..7].copy_from_slice(b"foreign");
    let mut attributes = Load {
        prog_type: CGROUP_SOCK_ADDR,
        insn_cnt: 2,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: CGROUP_INET4_CONNECT,
    };
    // SAFETY: the type is the one of this command, and all that it points to lives throughout.
    let program = unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }.unwrap();
    // SAFETY: the kernel returns a new descriptor, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(program) }
}

/// # Safety
///
/// `T` is the part of `bpf_attr` that belongs to the command.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    match result {
        0.. => Ok(result as libc::c_int),
        _ => Err(io::Error::last_os_error()),
    }
}
