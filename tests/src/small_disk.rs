//! A disk of a few MiB that really fills up.

use std::path::Path;

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// A tmpfs that only this thread and the processes it starts see, so it is gone with them even if
/// they are killed. It takes root.
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    pub fn new(mebibytes: u32) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let nothing = None::<&Path>;
        unshare(CloneFlags::CLONE_NEWNS)
            .context("mounting a small disk takes root: run `sudo -E cargo xtask test slice`")?;
        // Or the mount would show outside too.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).context("keeping the mount to ourselves")?;
        let size = format!("size={mebibytes}m");
        mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .context("mounting a tmpfs")?;
        Ok(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached: whoever still has a file of it open does not keep the directory.
        if let Err(error) = umount2(self.directory.path(), MntFlags::MNT_DETACH) {
            eprintln!("the small disk stays mounted: {error}");
        }
    }
}
