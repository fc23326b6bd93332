//! The policies in force, of files and of the cluster, replaced while the gateway runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{PolicyError, PolicySet};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentPolicy, AgentPolicySpec},
        manifest::{self, Manifests},
    },
    config::watch::Changed,
    informer::Known,
    mask,
};

type Objects = watch::Receiver<Arc<Known<AgentPolicy>>>;

/// Where policies are, and the last set of them all that was valid.
#[derive(Debug)]
pub struct PolicySource {
    directory: Option<PathBuf>,
    objects: Option<Objects>,
    current: watch::Sender<Arc<PolicySet>>,
    /// Looks for what the policies in force say.
    key: Option<Arc<mask::Key>>,
    /// Whether there has been a valid set. Held from reading to publishing, so that what was read earlier is never
    /// published later.
    is_in_force: Mutex<bool>,
}

impl PolicySource {
    /// Reads `directory`, which must be valid. Where objects of the cluster count too, no policy is in force before
    /// they have been heard: one of them may deny what a file allows.
    pub fn new(directory: Option<&Path>, objects: Option<Objects>) -> Result<Self, PolicyError> {
        let files = directory.map_or_else(|| Ok(PolicySet::empty()), PolicySet::load)?;
        let is_in_force = Mutex::new(objects.is_none());
        let set = match &objects {
            None => files,
            Some(_) => PolicySet::empty(),
        };
        let source = Self {
            directory: directory.map(Path::to_owned),
            objects,
            current: watch::Sender::new(Arc::new(set)),
            key: None,
            is_in_force,
        };
        Ok(source)
    }

    /// Masks with `key`, which looks for what the policies in force say.
    pub fn masking_with(self, key: &Arc<mask::Key>) -> Self {
        let current = self.current();
        key.look_for(current.detectors(), current.sensitive_fields());
        Self {
            key: Some(Arc::clone(key)),
            ..self
        }
    }

    /// Reads everything again. On an error the set in force stays in force. It reads files, so call it where
    /// blocking is allowed.
    pub fn reload(&self) -> Result<Changed, PolicyError> {
        let mut is_in_force = self.lock();
        let Some(objects) = self.heard() else {
            return Ok(Changed::Unchanged);
        };
        let files = self.directory.as_deref().map(read).transpose()?;
        let all = files.unwrap_or_default().and(objects);
        let set = PolicySet::compile(&all.valid, all.problems)?;
        *is_in_force = true;
        let replaced = self.current.send_if_modified(|current| {
            let differs = current.digest() != set.digest();
            if differs {
                // Before its rules count.
                if let Some(key) = &self.key {
                    key.look_for(set.detectors(), set.sensitive_fields());
                }
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

    /// Whether the current set is one that was read. Before that it allows nothing but discovery.
    pub fn is_in_force(&self) -> bool {
        *self.lock()
    }

    pub fn current(&self) -> Arc<PolicySet> {
        Arc::clone(&self.current.borrow())
    }

    /// Sees each later set, for calls that are judged again while they run.
    pub fn subscribe(&self) -> watch::Receiver<Arc<PolicySet>> {
        self.current.subscribe()
    }

    /// The objects of the cluster; `None` before they have been heard whole.
    fn heard(&self) -> Option<Manifests<AgentPolicySpec>> {
        let Some(objects) = &self.objects else {
            return Some(Manifests::default());
        };
        let known = Arc::clone(&objects.borrow());
        known.named().map(manifest::of_cluster::<AgentPolicy>)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_in_force
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every policy of `directory`.
pub(super) fn read(directory: &Path) -> Result<Manifests<AgentPolicySpec>, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable {
        directory: directory.to_owned(),
        source,
    };
    manifest::read_directory::<AgentPolicy>(directory).map_err(unreadable)
}
