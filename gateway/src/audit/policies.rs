//! Every set of policies that was in force, by its digest: what a rule in a record said can be read years later.
//!
//! A file `policies/<hex of the digest>.jsonl` in the store, beside those of the records. Its bytes are what the digest
//! is of, so it proves itself. It is on this disk first, beside the log, and leaves it once the store has it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::store::{Directory, Store, StoreError};
use crate::{config::Recording, telemetry::causes};

const RETRY: Duration = Duration::from_secs(10);
/// How long a store may keep the process from ending. What it has not taken stays on the disk.
const LAST_CHANCE: Duration = Duration::from_secs(5);
/// Of the log, and of the store.
const DIRECTORY: &str = "policies";

/// Clones share one archive.
#[derive(Clone, Debug)]
pub struct PolicyArchive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Directory,
    path: PathBuf,
    store: Store,
    /// Digests of what this process has kept.
    known: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl PolicyArchive {
    /// Beside an open log.
    pub fn open(config: &Recording, cluster: &str) -> Result<Self, StoreError> {
        let path = config.wal.directory.join(DIRECTORY);
        Ok(Self(Arc::new(Inner {
            kept: Directory::open(&path)?,
            path,
            store: Store::open(&config.store, cluster)?,
            known: Mutex::default(),
            wake: Notify::new(),
        })))
    }

    /// Makes the content of `digest` durable on this disk. Blocks.
    pub fn keep(&self, digest: &str, content: &str) -> Result<(), StoreError> {
        if self.known().contains(digest) {
            return Ok(());
        }
        self.0.kept.put(&file_name(digest), content.as_bytes())?;
        self.known().insert(digest.to_owned());
        self.0.wake.notify_one();
        Ok(())
    }

    /// Moves to the store what is kept, what earlier processes left included, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            // A store that hangs does not keep the gateway from ending.
            let moved = tokio::select! {
                () = shutdown.cancelled() => break,
                moved = self.store_all() => moved,
            };
            if let Err(error) = &moved {
                tracing::warn!(
                    error = causes(error),
                    "policies wait on this disk until they can be stored"
                );
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.0.wake.notified(), if moved.is_ok() => {}
                () = tokio::time::sleep(RETRY), if moved.is_err() => {}
            }
        }
        let _rest_stays = timeout(LAST_CHANCE, self.store_all()).await;
    }

    async fn store_all(&self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (name, path) in self.waiting()? {
            let stored = self.store(&name, &path).await;
            let is_of_one_file = matches!(&stored, Err(error) if error.is_of_one_file());
            outcome = outcome.and(stored);
            if outcome.is_err() && !is_of_one_file {
                break;
            }
        }
        outcome
    }

    async fn store(&self, name: &str, path: &Path) -> Result<(), StoreError> {
        let bytes = tokio::fs::read(path).await;
        let bytes = bytes.map_err(io_error("read", path))?;
        let name = format!("{DIRECTORY}/{name}");
        let location = self.0.store.put_named(name, bytes.into()).await?;
        let removed = tokio::fs::remove_file(path).await;
        removed.map_err(io_error("remove", path))?;
        tracing::info!(location, "policies archived");
        Ok(())
    }

    /// Names and paths of what the store has not taken yet.
    fn waiting(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let directory = &self.0.path;
        let entries = fs::read_dir(directory).map_err(io_error("list", directory))?;
        let mut waiting = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("list", directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What begins with a dot is being written.
            if name.ends_with(".jsonl") && !name.starts_with('.') {
                waiting.push((name, entry.path()));
            }
        }
        Ok(waiting)
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_name(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    format!("{hex}.jsonl")
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:00ff";

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a directory"));
            fs::create_dir(place.wal()).expect("a directory");
            place
        }

        fn wal(&self) -> PathBuf {
            self.0.path().join("wal")
        }

        fn stored(&self) -> PathBuf {
            self.0.path().join("store/policies/00ff.jsonl")
        }

        fn archive(&self) -> PolicyArchive {
            let root = self.0.path().display();
            let text =
                format!("{{wal: {{directory: {root}/wal}}, store: {{directory: {root}/store}}}}");
            let config: Recording = serde_saphyr::from_str(&text).expect("valid");
            PolicyArchive::open(&config, "test").expect("it opens")
        }
    }

    #[tokio::test]
    async fn what_was_in_force_is_in_the_store_under_its_digest() {
        let place = Place::new();
        let archive = place.archive();
        archive.keep(DIGEST, "[\"ci\",{}]\n").expect("kept");
        let kept = place.wal().join("policies/00ff.jsonl");
        assert!(kept.exists(), "it is on the disk before anything else");
        archive.store_all().await.expect("stored");
        let stored = fs::read_to_string(place.stored()).expect("it is there");
        assert_eq!(stored, "[\"ci\",{}]\n");
        assert!(!kept.exists());

        archive.keep(DIGEST, "[\"ci\",{}]\n").expect("known");
        assert!(!kept.exists(), "it is stored already");
        // Another process, and the same policies.
        let again = place.archive();
        again.keep(DIGEST, "[\"ci\",{}]\n").expect("kept");
        again.store_all().await.expect("the same file");
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_stays_on_the_disk() {
        let place = Place::new();
        let archive = place.archive();
        let (store, away) = (place.0.path().join("store"), place.0.path().join("away"));
        archive.keep(DIGEST, "x\n").expect("kept");
        fs::rename(&store, &away).expect("moved");
        fs::write(&store, "in the way").expect("a file");
        archive.store_all().await.expect_err("there is no store");

        fs::remove_file(&store).expect("removed");
        fs::rename(&away, &store).expect("moved back");
        place.archive().store_all().await.expect("stored later");
        assert!(place.stored().exists());
    }

    #[tokio::test]
    async fn other_content_under_the_same_digest_is_refused() {
        let place = Place::new();
        let archive = place.archive();
        archive.keep(DIGEST, "x\n").expect("kept");
        archive.store_all().await.expect("stored");
        let liar = place.archive();
        liar.keep(DIGEST, "y\n").expect("kept");
        let error = liar.store_all().await.expect_err("it is another");
        assert!(matches!(error, StoreError::Clash { .. }), "{error}");
    }
}
