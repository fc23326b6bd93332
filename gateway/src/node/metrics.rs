//! Numbers of the node agent itself. How many pods are in which state is among what is published of them.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::redirect::Decisions;

#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    pub(super) listeners: Gauge,
    pub(super) gateways: Gauge,
    pub(super) mismatches: Counter,
    decisions: Family<DecisionLabels, Gauge<u64, AtomicU64>>,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DecisionLabels {
    decision: &'static str,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "node_listeners",
            "Listening sockets held in agents' pods",
            metrics.listeners.clone(),
        );
        registry.register(
            "node_gateways",
            "Gateways that hold the same listeners",
            metrics.gateways.clone(),
        );
        registry.register(
            "node_mismatches",
            "How often what was there was not what should be: links, listeners, canaries",
            metrics.mismatches.clone(),
        );
        registry.register(
            "node_kernel_decisions",
            "What the kernel programs decided since their maps were made",
            metrics.decisions.clone(),
        );
        metrics
    }

    pub(super) fn set_decisions(&self, decisions: &Decisions) {
        for (decision, count) in [
            ("redirected_v4", decisions.redirected_v4),
            ("redirected_v6", decisions.redirected_v6),
            ("redirected_v4_mapped", decisions.redirected_v4_mapped),
            ("denied", decisions.denied),
            ("denied_guarded", decisions.denied_guarded),
            ("dropped_packet", decisions.dropped_packets),
            ("denied_bind", decisions.denied_binds),
            ("passed_unclassified", decisions.passed_unclassified),
        ] {
            self.decisions
                .get_or_create(&DecisionLabels { decision })
                .set(count);
        }
    }
}
