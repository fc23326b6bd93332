//! What `/readyz` answers: ready once every registered part has said so.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<&'static str>>>,
}

/// Blocks readiness until it is dropped.
#[derive(Debug)]
#[must_use = "readiness is blocked only as long as this is held"]
pub struct BlockReady {
    part: &'static str,
    readiness: Readiness,
}

impl Readiness {
    pub fn register(&self, part: &'static str) -> BlockReady {
        self.lock().insert(part);
        BlockReady {
            part,
            readiness: self.clone(),
        }
    }

    /// The parts that are not ready, in order of name. Empty means ready.
    pub fn pending(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    /// The set stays consistent under a panic of another holder: each change is one call.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlockReady {
    fn drop(&mut self) {
        self.readiness.lock().remove(self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_part_lets_go() {
        let readiness = Readiness::default();
        let policy = readiness.register("policy");
        let wal = readiness.register("wal");
        drop(policy);
        assert_eq!(readiness.pending(), ["wal"]);
        drop(wal);
        assert!(readiness.pending().is_empty());
    }
}
