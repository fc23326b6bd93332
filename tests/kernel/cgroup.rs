use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sallyport::redirect::{self, PodCgroup, cgroup2_mount};
use tempfile::TempDir;

/// A cgroup of the test's own, removed at the end: what `kubepods` is on a node.
pub(crate) struct TestCgroup {
    besteffort: ChildCgroup,
    cgroup: ChildCgroup,
    _hierarchy: Hierarchy,
}

impl TestCgroup {
    pub(crate) fn new() -> Self {
        let hierarchy = Hierarchy::find_or_mount();
        let name = format!("sallyport-test-{}-{}", process::id(), serial());
        let cgroup = ChildCgroup::make(hierarchy.path(), &name);
        Self {
            besteffort: ChildCgroup::make(&cgroup.0, "kubepods-besteffort.slice"),
            cgroup,
            _hierarchy: hierarchy,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.cgroup.0
    }

    pub(crate) fn besteffort(&self) -> &Path {
        &self.besteffort.0
    }

    /// Another cgroup at the same path.
    pub(crate) fn make_anew(&self) {
        for cgroup in [&self.besteffort.0, &self.cgroup.0] {
            fs::remove_dir(cgroup).unwrap();
        }
        for cgroup in [&self.cgroup.0, &self.besteffort.0] {
            fs::create_dir(cgroup).unwrap();
        }
    }

    /// As systemd has it, two levels below.
    pub(crate) fn pod(&self) -> TestPod {
        TestPod::make(&self.besteffort.0)
    }

    /// Of the QoS class Guaranteed, one level below.
    pub(crate) fn guaranteed_pod(&self) -> TestPod {
        TestPod::make(&self.cgroup.0)
    }
}

/// A pod's cgroup, and its container's below that.
pub(crate) struct TestPod {
    container: ChildCgroup,
    pod: ChildCgroup,
}

impl TestPod {
    fn make(parent: &Path) -> Self {
        let pod = ChildCgroup::make(parent, &format!("kubepods-pod{}.slice", serial()));
        Self {
            container: ChildCgroup::make(&pod.0, "cri-containerd-test.scope"),
            pod,
        }
    }

    pub(crate) fn cgroup(&self) -> PodCgroup {
        PodCgroup::at(self.pod.0.clone()).unwrap()
    }

    /// Where the container's processes are.
    pub(crate) fn container(&self) -> &Path {
        &self.container.0
    }

    /// A cgroup that the container has made for itself.
    pub(crate) fn nested(&self) -> ChildCgroup {
        ChildCgroup::make(&self.container.0, "nested")
    }
}

/// A cgroup that is removed at the end.
pub(crate) struct ChildCgroup(PathBuf);

impl ChildCgroup {
    fn make(parent: &Path, name: &str) -> Self {
        let path = parent.join(name);
        fs::create_dir(&path).expect("making a cgroup needs root and a writable cgroup2");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ChildCgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("every process in the test's cgroup has ended");
    }
}

/// Another number each time.
pub(crate) fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
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
