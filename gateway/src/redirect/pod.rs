use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Error;

/// A cgroup as the kernel's programs know it: the inode number of its directory. It is never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CgroupId(pub u64);

impl CgroupId {
    pub fn of(cgroup: &Path) -> io::Result<Self> {
        Ok(Self(cgroup.metadata()?.ino()))
    }
}

impl fmt::Display for CgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cgroup of a pod, which all its containers are below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodCgroup {
    pub id: CgroupId,
    pub path: PathBuf,
}

impl PodCgroup {
    pub fn at(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            id: CgroupId::of(&path)?,
            path,
        })
    }
}

/// A cgroup's directory, open: whatever happens to its path, this is the same cgroup.
pub(super) struct OpenCgroup {
    pub(super) id: CgroupId,
    pub(super) directory: File,
}

impl OpenCgroup {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let directory = File::open(path)?;
            let id = CgroupId(directory.metadata()?.ino());
            Ok(Self { id, directory })
        };
        open().map_err(|source| Error::OpenCgroup {
            cgroup: path.to_owned(),
            source,
        })
    }
}
