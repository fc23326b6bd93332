use std::fs;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// What a node has; the directories in sysfs are the kernel's own.
const FILESYSTEMS: [(&str, &str); 6] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tmpfs", "/tmp"),
];

pub(crate) fn mount_all() -> Result<()> {
    for (kind, place) in FILESYSTEMS {
        // sysfs lets nobody make a directory, and has both that are needed.
        if !place.starts_with("/sys/") {
            fs::create_dir_all(place)?;
        }
        let nothing = None::<&str>;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), nothing)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    Ok(())
}
