//! Whether agents can still be captured on every node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    api::{
        alert::{Alert, Reason},
        v1alpha1::node_coverage::{NodeCoverage, NodeCoverageStatus},
    },
    informer::Known,
};

/// A node agent says every thirty seconds what it sees.
const SILENT_AFTER: Duration = Duration::from_secs(180);

/// What the node agents said last, by node.
#[derive(Default)]
pub(super) struct Coverages {
    nodes: BTreeMap<String, Node>,
}

#[derive(Default)]
struct Node {
    problems: Vec<String>,
    needs_recreate: i32,
    unknown: i32,
    observed_at: Option<Timestamp>,
    /// When that was first seen here: clocks are not compared.
    since: Option<Instant>,
    is_silent: bool,
}

impl Coverages {
    pub(super) fn see(&mut self, known: &Known<NodeCoverage>, now: Instant) -> Vec<Alert> {
        let current: BTreeMap<&str, &Arc<NodeCoverage>> = known
            .valid()
            .map(|((_, name), coverage)| (name.as_str(), coverage))
            .collect();
        if known.synced {
            self.nodes
                .retain(|name, _| current.contains_key(name.as_str()));
        }
        let mut alerts = Vec::new();
        for (name, coverage) in current {
            if let Some(status) = &coverage.status {
                let node = self.nodes.entry(name.to_owned()).or_default();
                alerts.extend(node.see(name, status, now));
            }
        }
        alerts
    }
}

impl Node {
    fn see(&mut self, name: &str, status: &NodeCoverageStatus, now: Instant) -> Option<Alert> {
        if self.observed_at != Some(status.observed_at) {
            self.observed_at = Some(status.observed_at);
            self.since = Some(now);
            self.is_silent = false;
        }
        let is_worse = status.unknown > self.unknown
            || status.needs_recreate > self.needs_recreate
            || status
                .problems
                .iter()
                .any(|problem| !self.problems.contains(problem));
        self.problems.clone_from(&status.problems);
        self.needs_recreate = status.needs_recreate;
        self.unknown = status.unknown;
        if is_worse {
            return Some(self.alert(name, &self.situation()));
        }
        let is_over = self.since.is_some_and(|since| now >= since + SILENT_AFTER);
        if is_over && !self.is_silent {
            self.is_silent = true;
            let said = format!("nothing new since {}", status.observed_at);
            return Some(self.alert(name, &format!("its node agent is silent, {said}")));
        }
        None
    }

    fn situation(&self) -> String {
        let pods = [
            (self.needs_recreate, "must be made anew to be captured"),
            (self.unknown, "unknown"),
        ];
        let pods = pods.into_iter().filter(|(count, _)| *count > 0);
        let pods = pods.map(|(count, what)| format!("pods {what}: {count}"));
        pods.chain(self.problems.iter().cloned())
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn alert(&self, name: &str, what: &str) -> Alert {
        let note = format!("node {name}: {what}; see `sallyport coverage`");
        Alert {
            reason: Reason::CaptureLost,
            key: note.clone(),
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::node_coverage::NodeCoverageSpec;

    fn known(second: i64, needs_recreate: i32, problems: &[&str]) -> Known<NodeCoverage> {
        let mut coverage = NodeCoverage::new("node-1", NodeCoverageSpec::default());
        coverage.status = Some(NodeCoverageStatus {
            observed_at: Timestamp::from_second(second).expect("a time"),
            counted_since: Timestamp::UNIX_EPOCH,
            version: String::new(),
            captured: 1,
            denied: 0,
            exempt: 0,
            needs_recreate,
            unknown: 0,
            problems: problems
                .iter()
                .map(|problem| (*problem).to_owned())
                .collect(),
            pods: Vec::new(),
        });
        let key = (String::new(), "node-1".to_owned());
        Known {
            synced: true,
            objects: BTreeMap::from([(key, Ok(Arc::new(coverage)))]),
            ..Known::default()
        }
    }

    #[test]
    fn what_gets_worse_is_told_and_what_stays_or_mends_is_not() {
        let mut coverages = Coverages::default();
        let now = Instant::now();
        assert!(coverages.see(&known(0, 0, &[]), now).is_empty());
        let alerts = coverages.see(&known(1, 2, &["no bpffs"]), now);
        assert_eq!(
            alerts[0].note,
            "node node-1: pods must be made anew to be captured: 2; no bpffs; see `sallyport coverage`"
        );
        assert!(coverages.see(&known(2, 2, &["no bpffs"]), now).is_empty());
        assert!(coverages.see(&known(3, 1, &[]), now).is_empty());
        assert_eq!(coverages.see(&known(4, 2, &[]), now).len(), 1);
    }

    #[test]
    fn node_agent_that_says_nothing_new_is_told_of_once() {
        let mut coverages = Coverages::default();
        let now = Instant::now();
        let later = now + SILENT_AFTER;
        assert!(coverages.see(&known(0, 0, &[]), now).is_empty());
        let alerts = coverages.see(&known(0, 0, &[]), later);
        assert!(alerts[0].note.contains("silent"), "{alerts:?}");
        assert!(
            coverages
                .see(&known(0, 0, &[]), later + SILENT_AFTER)
                .is_empty()
        );
        let back = later + SILENT_AFTER;
        assert!(coverages.see(&known(1, 0, &[]), back).is_empty());
        assert_eq!(
            coverages.see(&known(1, 0, &[]), back + SILENT_AFTER).len(),
            1
        );
    }
}
