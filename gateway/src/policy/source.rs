//! The policies in force, replaced while the gateway runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{PolicyError, PolicySet};
use crate::config::watch::Changed;

/// A directory of policies and the last set of them that was valid.
#[derive(Debug)]
pub struct PolicySource {
    directory: PathBuf,
    current: watch::Sender<Arc<PolicySet>>,
    /// Held from reading to publishing, so that what was read earlier is never published later.
    reloading: Mutex<()>,
}

impl PolicySource {
    /// Reads `directory`; without a first valid set there is nothing to keep.
    pub fn new(directory: &Path) -> Result<Self, PolicyError> {
        let set = PolicySet::load(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            current: watch::Sender::new(Arc::new(set)),
            reloading: Mutex::new(()),
        })
    }

    /// Reads the directory again. On an error the set in force stays in force. It reads files, so call it
    /// where blocking is allowed.
    pub fn reload(&self) -> Result<Changed, PolicyError> {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let set = PolicySet::load(&self.directory)?;
        let replaced = self.current.send_if_modified(|current| {
            let differs = current.digest() != set.digest();
            if differs {
                *current = Arc::new(set);
            }
            differs
        });
        Ok(if replaced {
            Changed::Replaced
        } else {
            Changed::Unchanged
        })
    }

    pub fn current(&self) -> Arc<PolicySet> {
        Arc::clone(&self.current.borrow())
    }

    /// Sees each later set, for calls that are judged again while they run.
    pub fn subscribe(&self) -> watch::Receiver<Arc<PolicySet>> {
        self.current.subscribe()
    }
}
