//! The agents in use, replaced while the gateway runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::{AgentError, AgentSet};
use crate::config::watch::Changed;

/// The directory of agents and the last set of it that was good.
#[derive(Debug)]
pub struct AgentSource {
    directory: Option<PathBuf>,
    current: watch::Sender<Arc<AgentSet>>,
}

impl AgentSource {
    /// Loads the first set; without a directory it is empty and stays so.
    pub fn new(directory: Option<&Path>) -> Result<Self, AgentError> {
        let source = Self {
            directory: directory.map(Path::to_owned),
            current: watch::Sender::new(Arc::default()),
        };
        source.reload()?;
        Ok(source)
    }

    /// Reads the directory again. On an error the set in use stays. It reads files, so call it where
    /// blocking is allowed.
    pub fn reload(&self) -> Result<Changed, AgentError> {
        let Some(directory) = &self.directory else {
            return Ok(Changed::Unchanged);
        };
        let fresh = AgentSet::load(directory)?;
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

    pub fn subscribe(&self) -> watch::Receiver<Arc<AgentSet>> {
        self.current.subscribe()
    }
}
