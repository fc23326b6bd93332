//! Notices that files changed: configuration that is reloaded while the gateway runs.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// A change counts once nothing more happened for this long,
const QUIET: Duration = Duration::from_millis(100);
/// or at the latest after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(
        "files cannot be watched here (inotify); raise fs.inotify.max_user_instances, or send SIGHUP to reload"
    )]
    Unavailable(#[source] notify::Error),
    #[error("cannot watch {} (inotify); raise fs.inotify.max_user_watches, or send SIGHUP to reload", path.display())]
    Unwatchable {
        path: PathBuf,
        #[source]
        source: notify::Error,
    },
}

/// Whether a reload changed anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Changed {
    Unchanged,
    Replaced,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "unchanged",
            Self::Replaced => "replaced",
        })
    }
}

/// Watches files and directories, those of a mounted ConfigMap included. (A `subPath` mount never changes.)
#[derive(Debug)]
pub struct FileWatch {
    watcher: RecommendedWatcher,
    watched: Arc<[PathBuf]>,
    signal: Arc<Notify>,
    pending: bool,
}

impl FileWatch {
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, WatchError> {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let watched: Arc<[PathBuf]> = paths.into_iter().map(absolute).collect();
        let signal = Arc::new(Notify::new());
        let (paths, notify) = (Arc::clone(&watched), Arc::clone(&signal));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if concerns(&paths, event) {
                notify.notify_one();
            }
        });
        let watcher = watcher.map_err(WatchError::Unavailable)?;
        let mut watch = Self {
            watcher,
            watched,
            signal,
            pending: false,
        };
        watch.arm()?;
        Ok(watch)
    }

    /// Waits until something changed and then kept still. Dropping the future loses no change.
    pub async fn changed(&mut self) {
        if !self.pending {
            self.signal.notified().await;
            self.pending = true;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && timeout(QUIET, self.signal.notified()).await.is_ok() {}
        // What was replaced is another inode now. A failure shows when the caller reads the files.
        let _ = self.arm();
        self.pending = false;
    }

    /// A file is watched through its directory, since editors and ConfigMaps replace it; a directory also
    /// through its parent, to see it come back.
    fn arm(&mut self) -> Result<(), WatchError> {
        for path in self.watched.iter() {
            if path.is_dir() {
                watch(&mut self.watcher, path)?;
            }
            watch(&mut self.watcher, path.parent().unwrap_or(path))?;
        }
        Ok(())
    }
}

fn watch(watcher: &mut RecommendedWatcher, path: &Path) -> Result<(), WatchError> {
    let unwatchable = |source| WatchError::Unwatchable {
        path: path.to_owned(),
        source,
    };
    watcher
        .watch(path, RecursiveMode::NonRecursive)
        .map_err(unwatchable)
}

/// Reading a file is an event too. A lost event may have been any.
fn concerns(watched: &[PathBuf], event: notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else { return true };
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.need_rescan()
        || event
            .paths
            .iter()
            .any(|changed| watched.iter().any(|path| is_part_of(path, changed)))
}

/// `..data` beside a file is the link that a ConfigMap's new version renames.
fn is_part_of(watched: &Path, changed: &Path) -> bool {
    let is_version = changed.file_name().is_some_and(|name| name == "..data");
    changed.starts_with(watched) || is_version && changed.parent() == watched.parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sees_a_change(watch: &mut FileWatch) {
        timeout(Duration::from_secs(30), watch.changed())
            .await
            .expect("the change is noticed");
    }

    #[tokio::test]
    async fn a_file_written_into_a_watched_directory_is_noticed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut watch = FileWatch::new([directory.path().to_owned()]).expect("inotify works");
        std::fs::write(directory.path().join("a.yaml"), "a").expect("a file");
        sees_a_change(&mut watch).await;
    }

    #[tokio::test]
    async fn a_config_map_swap_is_noticed_through_the_file_it_changes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("..1")).expect("a directory");
        std::fs::write(at("..1/gateway.yaml"), "a").expect("a file");
        std::os::unix::fs::symlink("..1", at("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/gateway.yaml", at("gateway.yaml")).expect("a link");
        let mut watch = FileWatch::new([at("gateway.yaml")]).expect("inotify works");
        std::os::unix::fs::symlink("..2", at("..data_tmp")).expect("a link");
        std::fs::rename(at("..data_tmp"), at("..data")).expect("a rename");
        sees_a_change(&mut watch).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_stays_watched() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let directory = parent.path().join("policies");
        std::fs::create_dir(&directory).expect("a directory");
        let mut watch = FileWatch::new([directory.clone()]).expect("inotify works");
        std::fs::remove_dir(&directory).expect("it is empty");
        std::fs::create_dir(&directory).expect("a directory");
        sees_a_change(&mut watch).await;
        std::fs::write(directory.join("a.yaml"), "a").expect("a file");
        sees_a_change(&mut watch).await;
    }

    #[test]
    fn reading_and_the_neighbours_of_a_file_are_no_change() {
        let watched = [PathBuf::from("/etc/gateway.yaml")];
        let event = |kind, path: &str| Ok(notify::Event::new(kind).add_path(path.into()));
        let modify = EventKind::Modify(notify::event::ModifyKind::Any);
        assert!(concerns(&watched, event(modify, "/etc/gateway.yaml")));
        assert!(concerns(&watched, event(modify, "/etc/..data")));
        assert!(!concerns(&watched, event(modify, "/etc/passwd")));
        assert!(!concerns(
            &watched,
            event(
                EventKind::Access(notify::event::AccessKind::Read),
                "/etc/gateway.yaml"
            )
        ));
    }
}
