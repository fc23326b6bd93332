use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sallyport::redirect::{self, cgroup2_mount};
use tempfile::TempDir;

/// A cgroup of the test's own, removed at the end.
pub(crate) struct TestCgroup {
    path: PathBuf,
    _hierarchy: Hierarchy,
}

impl TestCgroup {
    pub(crate) fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let hierarchy = Hierarchy::find_or_mount();
        let path = hierarchy
            .path()
            .join(format!("sallyport-test-{}-{serial}", process::id()));
        fs::create_dir(&path).expect("making a cgroup needs root and a writable cgroup2");
        Self {
            path,
            _hierarchy: hierarchy,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A cgroup below this one, as a container runtime would make it.
    pub(crate) fn child(&self) -> ChildCgroup {
        let path = self.path.join("nested");
        fs::create_dir(&path).unwrap();
        ChildCgroup(path)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.path).expect("every process in the test's cgroup has ended");
    }
}

pub(crate) struct ChildCgroup(PathBuf);

impl ChildCgroup {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ChildCgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("every process in the nested cgroup has ended");
    }
}

/// The machine's cgroup2, or where it has none one that is mounted for the test only.
enum Hierarchy {
    Machine(PathBuf),
    Private(TempDir),
}

impl Hierarchy {
    fn find_or_mount() -> Self {
        match cgroup2_mount() {
            Ok(cgroup2) => Self::Machine(cgroup2.path().to_owned()),
            Err(redirect::Error::NoCgroup2) => Self::mount(),
            Err(error) => panic!("{error}"),
        }
    }

    fn mount() -> Self {
        let directory = TempDir::new().unwrap();
        mount(
            Some("cgroup2"),
            directory.path(),
            Some("cgroup2"),
            MsFlags::empty(),
            None::<&str>,
        )
        .expect("mounting cgroup2 needs root");
        Self::Private(directory)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Machine(path) => path,
            Self::Private(directory) => directory.path(),
        }
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        if let Self::Private(directory) = self {
            umount2(directory.path(), MntFlags::MNT_DETACH).expect("the test mounted it");
        }
    }
}
