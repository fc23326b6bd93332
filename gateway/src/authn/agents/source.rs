//! The agents in use, of files and of the cluster, replaced while the gateway runs.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::watch;

use super::{AgentError, AgentSet, manifests};
use crate::{
    api::v1alpha1::{
        agent::{Agent, AgentSpec},
        manifest::{self, Manifests},
    },
    config::watch::Changed,
    informer::Known,
};

type Objects = watch::Receiver<Arc<Known<Agent>>>;

/// Where agents are declared, and the last set of them all that was good.
#[derive(Debug)]
pub struct AgentSource {
    directory: Option<PathBuf>,
    objects: Option<Objects>,
    current: watch::Sender<Arc<AgentSet>>,
    is_in_use: AtomicBool,
}

impl AgentSource {
    /// Loads the first set, which must be good. Where objects of the cluster count too, it is those of the files until
    /// they have been heard.
    pub fn new(directory: Option<&Path>, objects: Option<Objects>) -> Result<Self, AgentError> {
        let files = directory.map_or_else(|| Ok(AgentSet::default()), AgentSet::load)?;
        Ok(Self {
            directory: directory.map(Path::to_owned),
            is_in_use: AtomicBool::new(objects.is_none()),
            objects,
            current: watch::Sender::new(Arc::new(files)),
        })
    }

    /// Reads everything again. On an error the set in use stays. It reads files, so call it where blocking is
    /// allowed.
    pub fn reload(&self) -> Result<Changed, AgentError> {
        let Some(objects) = self.heard() else {
            return Ok(Changed::Unchanged);
        };
        let files = self.directory.as_deref().map(manifests::read).transpose()?;
        let fresh = AgentSet::of(files.unwrap_or_default().and(objects))?;
        self.is_in_use.store(true, Relaxed);
        let changed = self.current.send_if_modified(|current| {
            let differs = **current != fresh;
            if differs {
                *current = Arc::new(fresh);
            }
            differs
        });
        Ok(if changed {
            Changed::Replaced
        } else {
            Changed::Unchanged
        })
    }

    /// Whether the current set has everything that counts.
    pub fn is_in_use(&self) -> bool {
        self.is_in_use.load(Relaxed)
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<AgentSet>> {
        self.current.subscribe()
    }

    /// The objects of the cluster; `None` before they have been heard whole.
    fn heard(&self) -> Option<Manifests<AgentSpec>> {
        let Some(objects) = &self.objects else {
            return Some(Manifests::default());
        };
        let known = Arc::clone(&objects.borrow());
        known.named().map(manifest::of_cluster::<Agent>)
    }
}
