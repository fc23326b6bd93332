//! The cgroups of this node's pods: what is there now, and a sign when that changes.
//!
//! The list is read anew each time, so an event that is lost costs time and nothing else. A directory that was
//! replaced has another inode number, which is its cgroup id.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{CreateKind, RemoveKind},
};
use tokio::sync::Notify;

use super::layout::{self, PodKey};
use crate::redirect::{CgroupId, PodCgroup};

pub(super) struct Cgroups {
    kubepods: PathBuf,
    /// Absent where inotify is: then the reconcile interval is how soon a pod is seen.
    watcher: Option<RecommendedWatcher>,
    touched: Arc<Touched>,
}

/// Directories in which something was made or removed since they were last asked for.
#[derive(Default)]
struct Touched(Mutex<BTreeSet<PathBuf>>);

impl Cgroups {
    /// Wakes `changed` whenever a pod's cgroup comes or goes, or a container's in a pod that is followed.
    pub(super) fn new(kubepods: PathBuf, changed: Arc<Notify>) -> Self {
        let touched = Arc::new(Touched::default());
        let seen = Arc::clone(&touched);
        let watcher = notify::recommended_watcher(move |event| {
            if seen.note(event) {
                changed.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(%error, "new pods are seen late, since inotify is missing: raise fs.inotify.max_user_instances");
        });
        Self {
            kubepods,
            watcher: watcher.ok(),
            touched,
        }
    }

    /// Every pod's cgroup. The directories of classes come later than the first call, and may come again.
    pub(super) fn list(&mut self) -> io::Result<BTreeMap<PodKey, PodCgroup>> {
        // Watched before it is read, or what comes in between would be seen by neither.
        self.watch(&self.kubepods.clone());
        let mut pods = BTreeMap::new();
        let base = name(&self.kubepods).to_owned();
        for qos in pods_in(&self.kubepods, &mut pods)? {
            if !layout::is_qos_directory(&base, name(&qos)) {
                continue;
            }
            self.watch(&qos);
            match pods_in(&qos, &mut pods) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => drop(read?),
            }
        }
        Ok(pods)
    }

    /// Has containers that come and go in this pod's cgroup seen as well.
    pub(super) fn follow(&mut self, pod: &PodCgroup) {
        self.watch(&pod.path);
    }

    /// Pods followed in which a container has come or gone.
    pub(super) fn touched(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.touched.lock())
    }

    /// Again and again: a directory that was replaced is another one, and for the same one it does nothing.
    fn watch(&mut self, directory: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, directory = %directory.display(), "a cgroup is not watched");
        }
    }
}

impl Touched {
    /// Whether `event` is about directories. A lost event may have been about any.
    fn note(&self, event: notify::Result<notify::Event>) -> bool {
        let Ok(event) = event else { return true };
        let of_directory = matches!(
            event.kind,
            EventKind::Create(CreateKind::Folder | CreateKind::Any)
                | EventKind::Remove(RemoveKind::Folder | RemoveKind::Any)
        );
        if of_directory {
            let parents = event.paths.iter().filter_map(|path| path.parent());
            self.lock().extend(parents.map(Path::to_owned));
        }
        of_directory || event.need_rescan()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the pods directly in `directory`, and returns its other directories.
fn pods_in(directory: &Path, pods: &mut BTreeMap<PodKey, PodCgroup>) -> io::Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        match layout::pod_directory(name(directory), name(&path)) {
            Some(key) => {
                let id = CgroupId(entry.ino());
                pods.insert(key, PodCgroup { id, path });
            }
            None => others.push(path),
        }
    }
    Ok(others)
}

/// Names that are not UTF-8 are no kubelet's.
fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UID: &str = "8d7c9b5a-0f3e-4c8e-9d2b-1a2b3c4d5e6f";

    fn key() -> PodKey {
        PodKey::Uid(UID.to_owned())
    }

    #[tokio::test]
    async fn a_class_that_comes_late_is_watched_and_a_replaced_pod_has_another_id() {
        let root = tempfile::tempdir().expect("a directory");
        let kubepods = root.path().join("kubepods");
        fs::create_dir(&kubepods).expect("a directory");
        let changed = Arc::new(Notify::new());
        let mut cgroups = Cgroups::new(kubepods.clone(), Arc::clone(&changed));
        assert!(cgroups.list().expect("readable").is_empty());

        fs::create_dir(kubepods.join("burstable")).expect("a directory");
        seen(&changed).await;
        assert!(cgroups.list().expect("readable").is_empty());
        let pod = kubepods.join("burstable").join(format!("pod{UID}"));
        fs::create_dir(&pod).expect("a directory");
        seen(&changed).await;
        let first = cgroups.list().expect("readable")[&key()].id;

        // Made beside before the other goes, so that its number cannot be the same.
        let beside = root.path().join("beside");
        fs::create_dir(&beside).expect("a directory");
        fs::remove_dir(&pod).expect("it is empty");
        fs::rename(&beside, &pod).expect("renamed");
        seen(&changed).await;
        assert_ne!(cgroups.list().expect("readable")[&key()].id, first);
    }

    #[tokio::test]
    async fn a_container_in_a_pod_that_is_followed_is_seen() {
        let root = tempfile::tempdir().expect("a directory");
        let kubepods = root.path().join("kubepods");
        let pod = kubepods.join(format!("pod{UID}"));
        fs::create_dir_all(&pod).expect("directories");
        let changed = Arc::new(Notify::new());
        let mut cgroups = Cgroups::new(kubepods, Arc::clone(&changed));
        let found = cgroups.list().expect("readable")[&key()].clone();
        cgroups.follow(&found);
        fs::create_dir(pod.join("0123abcd")).expect("a directory");
        seen(&changed).await;
        assert!(cgroups.touched().contains(&pod));
        assert!(cgroups.touched().is_empty());
    }

    async fn seen(changed: &Notify) {
        tokio::time::timeout(Duration::from_secs(30), changed.notified())
            .await
            .expect("the change is noticed");
    }
}
