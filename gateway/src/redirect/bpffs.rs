use std::{fs, io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs},
};

use super::Error;

/// Where every distribution mounts it, and every tool looks for it.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Mounts the BPF file system at `path` unless it is there already. The mount stays.
///
/// The file system is asked, not the table of mounts: that table belongs to the process's first
/// thread, and this one may be in another mount namespace.
pub fn mount_bpffs(path: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::from_mount(path, source);
    fs::create_dir_all(path).map_err(failed)?;
    if is_bpffs(path).map_err(failed)? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| failed(errno.into()))
}

pub(super) fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

pub(super) fn is_cgroup2(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == CGROUP2_SUPER_MAGIC)
}
