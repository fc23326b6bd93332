//! Numbers of pods by state, and never which.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::node::snapshot::{CoverageState, Snapshot};

#[derive(Debug)]
pub(in crate::node) struct CoverageMetrics {
    pods: Family<InState, Gauge>,
    problems: Gauge,
    failures: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InState {
    state: &'static str,
}

impl CoverageMetrics {
    pub(in crate::node) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            pods: Family::default(),
            problems: Gauge::default(),
            failures: Counter::default(),
        };
        registry.register(
            "node_pods",
            "Pods of this node by what becomes of their connections to the API server",
            metrics.pods.clone(),
        );
        registry.register(
            "node_problems",
            "What is wrong on this node as a whole; the object NodeCoverage says what",
            metrics.problems.clone(),
        );
        registry.register(
            "node_coverage_write_failures",
            "Attempts to write the object NodeCoverage that failed",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(super) fn show(&self, snapshot: &Snapshot) {
        for state in CoverageState::ALL {
            let label = InState {
                state: state.as_str(),
            };
            self.pods
                .get_or_create(&label)
                .set(number(snapshot.count(state)));
        }
        self.problems.set(number(snapshot.problems.len()));
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_number_and_no_pod_a_name() {
        let mut registry = Registry::default();
        let metrics = CoverageMetrics::new(&mut registry);
        metrics.show(&Snapshot {
            problems: vec!["x".into()],
            ..Snapshot::default()
        });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it encodes");
        for state in CoverageState::ALL {
            assert!(
                text.contains(&format!("node_pods{{state=\"{state}\"}} 0")),
                "{text}"
            );
        }
        assert!(text.contains("node_problems 1"), "{text}");
    }
}
