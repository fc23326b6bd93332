//! Where things lie in the BPF file system.
//!
//! ```text
//! <pins>/v1/DESTINATIONS               a map of ABI version 1
//! <pins>/kubepods/<cgroup>/connect4    a link on `kubepods`, by the inode number of its cgroup
//! <pins>/pods/<cgroup>/agent_connect4  a link on a pod
//! ```
//!
//! Maps have the version in their path: another version's are never touched, and go once no link runs a program
//! that uses them. Links have none, since they are what an upgrade keeps.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sallyport_common::ABI_VERSION;

use super::{CgroupId, Error, bpffs};

pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directories. They have to be in the BPF file system.
    pub(super) fn make(root: &Path) -> Result<Self, Error> {
        let pins = Self::at(root);
        for directory in [pins.maps(), pins.kubepods(), pins.pods()] {
            make(&directory)?;
        }
        if bpffs::is_bpffs(root).is_ok_and(|is| is) {
            Ok(pins)
        } else {
            Err(Error::PinsOutsideBpffs { pins: pins.root })
        }
    }

    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    fn maps(&self) -> PathBuf {
        self.root.join(format!("v{ABI_VERSION}"))
    }

    pub(super) fn kubepods(&self) -> PathBuf {
        self.root.join("kubepods")
    }

    pub(super) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(super) fn pod(&self, pod: CgroupId) -> PathBuf {
        self.pods().join(pod.to_string())
    }

    /// The directories of maps that are not of this version.
    pub(super) fn of_other_versions(&self) -> Result<Vec<PathBuf>, Error> {
        let mut directories = entries(&self.root)?;
        let links = [self.kubepods(), self.pods(), self.maps()];
        directories.retain(|directory| !links.contains(directory));
        Ok(directories)
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        remove_file(path)
    }
}

pub(super) fn make(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|source| Error::from_pin(directory, source))
}

/// What is in a directory; nothing where there is none.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::from_pin(directory, source);
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(failed),
    }
}

/// The cgroup whose links a directory holds.
pub(super) fn cgroup_of(directory: &Path) -> Option<CgroupId> {
    directory.file_name()?.to_str()?.parse().ok().map(CgroupId)
}

pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
    unless_absent(fs::remove_file(path)).map_err(|source| Error::from_pin(path, source))
}

/// Removes a directory and the pins in it; those of links end unless someone holds them.
pub(super) fn remove_directory(directory: &Path) -> Result<(), Error> {
    for pin in entries(directory)? {
        remove_file(&pin)?;
    }
    unless_absent(fs::remove_dir(directory)).map_err(|source| Error::from_pin(directory, source))
}

fn unless_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
