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

    pub(super) fn is_over(&self) -> bool {
        self.phase.is_over()
    }

    pub(super) fn since(&self, before: Option<&Self>) -> Vec<Change> {
        let mut changes = Vec::new();
        match before {
            None => changes.push(Change::Asked),
            Some(before) if before.is_over() => return changes,
            Some(_) => {}
        }
        let known = before.map_or(&[][..], |before| &before.glass.votes);
        let new = self.glass.votes.iter().filter(|vote| !known.contains(vote));
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
        (!self.is_over()).then_some((self.glass, Change::Deleted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: &Value, minute: i64) -> Seen {
        let object = serde_json::from_value(json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "BreakGlass",
            "metadata": {"name": "one", "uid": "1", "creationTimestamp": "2026-11-26T10:00:00Z"},
            "spec": {"agents": ["*"], "namespaces": ["*"], "reason": "r", "by": "ann", "via": "Kubernetes"},
            "status": status,
        }));
        let made: Timestamp = "2026-11-26T10:00:00Z".parse().expect("a time");
        let now = made + jiff::SignedDuration::from_mins(minute);
        Seen::of(&Arc::new(Glass::of(&object.expect("a BreakGlass"))), now)
    }

    fn voted() -> Value {
        json!({"votes": [
            {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": "2026-11-26T10:05:00Z"},
        ]})
    }

    fn names(changes: &[Change]) -> Vec<String> {
        let names = changes.iter().map(|change| format!("{change:?}"));
        names
            .map(|text| {
                text.chars()
                    .take_while(|char| char.is_alphabetic())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn each_step_is_a_row_also_where_several_are_heard_of_at_once() {
        let asked = seen(&json!({"votes": []}), 1);
        assert_eq!(names(&asked.since(None)), ["Asked"]);
        let open = seen(&voted(), 6);
        assert_eq!(names(&open.since(Some(&asked))), ["Voted", "Opened"]);
        assert!(seen(&voted(), 7).since(Some(&open)).is_empty());
        let over = seen(&voted(), 20);
        assert_eq!(names(&over.since(Some(&open))), ["Expired"]);
        assert!(seen(&voted(), 21).since(Some(&over)).is_empty());
        assert_eq!(names(&over.since(None)), ["Asked", "Voted", "Expired"]);
        let lapsed = seen(&json!({"votes": []}), 15);
        assert_eq!(names(&lapsed.since(Some(&asked))), ["Lapsed"]);
    }

    #[test]
    fn what_is_deleted_before_its_time_is_a_row() {
        assert!(seen(&voted(), 20).deleted().is_none());
        assert!(seen(&voted(), 6).deleted().is_some());
    }
}
