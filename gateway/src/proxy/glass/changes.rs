//! What became of an object since it was last looked at.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::v1alpha1::{approval_request::Vote, break_glass::Closed},
    policy::{Glass, Over, Phase},
};

/// Each is a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Asked,
    Voted(Vote),
    Opened {
        until: Timestamp,
    },
    Closed(Closed),
    /// By the clock.
    Expired,
    /// It never opened.
    Lapsed,
    /// The object is gone before its time, which nobody but an administrator can do.
    Deleted,
}

/// One object, and where it stood.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    glass: Arc<Glass>,
    phase: Phase,
}

impl Seen {
    pub(super) fn of(glass: &Arc<Glass>, now: Timestamp) -> Self {
        Self {
            glass: Arc::clone(glass),
            phase: glass.phase(now),
        }
    }

    pub(super) fn since(&self, before: Option<&Self>, glass: &Glass) -> Vec<Change> {
        let is_old = matches!(self.phase, Phase::Over(_));
        let mut changes = Vec::new();
        match before {
            None if is_old => return changes,
            None => changes.push(Change::Asked),
            Some(before) if matches!(before.phase, Phase::Over(_)) => return changes,
            Some(_) => {}
        }
        let known = before.map_or(&[][..], |before| &before.glass.votes);
        let new = glass.votes.iter().filter(|vote| !known.contains(vote));
        changes.extend(new.cloned().map(Change::Voted));
        let was = before.map(|before| before.phase);
        changes.extend(self.entered().filter(|_| was != Some(self.phase)));
        changes
    }

    /// What the phase began with.
    fn entered(&self) -> Option<Change> {
        match self.phase {
            Phase::Asked => None,
            Phase::Open { until } => Some(Change::Opened { until }),
            Phase::Over(Over::Closed) => self.glass.closed.clone().map(Change::Closed),
            Phase::Over(Over::Expired) => Some(Change::Expired),
            Phase::Over(Over::Lapsed) => Some(Change::Lapsed),
        }
    }

    pub(super) fn deleted(self) -> Option<(Arc<Glass>, Change)> {
        match self.phase {
            Phase::Over(_) => None,
            Phase::Asked | Phase::Open { .. } => Some((self.glass, Change::Deleted)),
        }
    }
}
