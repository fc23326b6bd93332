//! Cgroups as a kubelet makes them: `kubepods/burstable/<pod>/<container>`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};
use sallyport::redirect::cgroup2_mount;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pod {
    Agent,
    Ordinary,
}

impl Pod {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "pod-agent",
            Self::Ordinary => "pod-ordinary",
        }
    }
}

/// Dropping it removes all of them.
pub(crate) struct Cgroups {
    kubepods: PathBuf,
}

impl Cgroups {
    pub(crate) fn make() -> Result<Self> {
        let name = format!("sallyport-bench-{}", process::id());
        let cgroups = Self {
            kubepods: cgroup2_mount()?.path().join(name),
        };
        for pod in [Pod::Agent, Pod::Ordinary] {
            let container = cgroups.container(pod);
            fs::create_dir_all(&container).with_context(|| {
                format!(
                    "cannot make the cgroup {}; cgroup2 has to be writable",
                    container.display()
                )
            })?;
        }
        Ok(cgroups)
    }

    pub(crate) fn kubepods(&self) -> &Path {
        &self.kubepods
    }

    pub(crate) fn pod(&self, pod: Pod) -> PathBuf {
        self.kubepods.join("burstable").join(pod.name())
    }

    /// Where the processes are.
    pub(crate) fn container(&self, pod: Pod) -> PathBuf {
        self.pod(pod).join("container")
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.kubepods) {
            eprintln!(
                "error: the cgroup {} is left behind: {error}",
                self.kubepods.display()
            );
        }
    }
}

/// Removes a cgroup and those below it; the files in them go along.
fn remove(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
