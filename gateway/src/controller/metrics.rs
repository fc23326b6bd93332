//! What the controller counts. Labels are closed sets: never a user, a name or a URL.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    pub(super) leader: Gauge,
    deliveries: Family<Delivery, Counter>,
    callbacks: Family<Callback, Counter>,
    votes: Family<Counted, Counter>,
    evidence: Family<Counted, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Delivery {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Callback {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Counted {
    outcome: &'static str,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "controller_leader",
            "1 where this replica leads",
            metrics.leader.clone(),
        );
        registry.register(
            "controller_deliveries",
            "Messages to webhooks by kind, and what became of them: delivered, failed (tried again), given_up",
            metrics.deliveries.clone(),
        );
        registry.register(
            "controller_callbacks",
            "Callbacks by what became of them: accepted, or why they were refused",
            metrics.callbacks.clone(),
        );
        registry.register(
            "controller_votes",
            "Votes that callbacks brought, by what became of them: written, or why they were not",
            metrics.votes.clone(),
        );
        registry.register(
            "controller_evidence_calls",
            "Calls of people for evidence by what became of them: answered, or why nothing was shown",
            metrics.evidence.clone(),
        );
        metrics
    }

    pub(super) fn evidence(&self, outcome: &'static str) {
        self.evidence.get_or_create(&Counted { outcome }).inc();
    }

    pub(super) fn delivery(&self, kind: &'static str, outcome: &'static str) {
        self.deliveries
            .get_or_create(&Delivery { kind, outcome })
            .inc();
    }

    pub(super) fn callback(&self, outcome: &'static str) {
        self.callbacks.get_or_create(&Callback { outcome }).inc();
    }

    pub(super) fn vote(&self, outcome: &'static str) {
        self.votes.get_or_create(&Counted { outcome }).inc();
    }
}
