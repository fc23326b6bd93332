//! What the data path counts. Labels are closed sets: never an agent, a user, a name or a path.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::fault::Fault;
use crate::{
    audit::record::{DecisionKind, Enforcement, Record},
    request_info::RESOURCE_VERBS,
};

#[derive(Debug)]
pub struct Metrics {
    calls: Family<Call, Counter>,
    rejections: Family<Rejected, Counter>,
    duration: Family<Verb, Histogram>,
    pub(super) connections: Gauge,
    pub(super) upgraded: Gauge,
    pub(super) decoys_read: Counter,
    pub(super) audited: Counter,
    pub(super) behind_glass: Counter,
    pub(super) glasses_open: Gauge,
    observed: Family<Observed, Counter>,
    connection_errors: Family<ConnectionError, Counter>,
    pub(super) captured_pods: Gauge,
    pub(super) captured_listeners: Gauge,
    pub(super) node_agent: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Call {
    verb: &'static str,
    decision: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Observed {
    decision: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Verb {
    verb: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Rejected {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConnectionError {
    kind: &'static str,
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            rejections: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 8))
            }),
            connections: Gauge::default(),
            upgraded: Gauge::default(),
            decoys_read: Counter::default(),
            audited: Counter::default(),
            behind_glass: Counter::default(),
            glasses_open: Gauge::default(),
            observed: Family::default(),
            connection_errors: Family::default(),
            captured_pods: Gauge::default(),
            captured_listeners: Gauge::default(),
            node_agent: Gauge::default(),
        };
        registry.register(
            "calls",
            "Recorded calls, by Kubernetes verb, decision and class of the status code",
            metrics.calls.clone(),
        );
        registry.register(
            "rejections",
            "Requests that the gateway itself refused or could not serve, by reason",
            metrics.rejections.clone(),
        );
        registry.register(
            "call_duration_seconds",
            "Seconds from the request's head to the recorded outcome, watches to their end",
            metrics.duration.clone(),
        );
        registry.register(
            "connections",
            "Open connections of agents, 4096 at most",
            metrics.connections.clone(),
        );
        registry.register(
            "upgraded_connections",
            "Open connections that have left HTTP: exec, attach, port-forward and what else may be upgraded",
            metrics.upgraded.clone(),
        );
        registry.register(
            "audited_rules",
            "Rules of policies in mode Audit that matched a call, and did not count",
            metrics.audited.clone(),
        );
        registry.register(
            "break_glass_calls",
            "Calls that passed by an open BreakGlass alone",
            metrics.behind_glass.clone(),
        );
        registry.register(
            "break_glass_open",
            "BreakGlass objects that are open",
            metrics.glasses_open.clone(),
        );
        registry.register(
            "observed",
            "Calls that policies would have denied or held, and that passed because their namespace is only observed",
            metrics.observed.clone(),
        );
        registry.register(
            "decoys_read",
            "Decoy Secrets in answers to agents, and in pods that they make",
            metrics.decoys_read.clone(),
        );
        registry.register(
            "connection_errors",
            "What went wrong on agents' connections before there was a request to answer, by kind",
            metrics.connection_errors.clone(),
        );
        registry.register(
            "captured_pods",
            "Pods whose connections to the API server arrive here",
            metrics.captured_pods.clone(),
        );
        registry.register(
            "captured_listeners",
            "Listeners in those pods, one for each destination",
            metrics.captured_listeners.clone(),
        );
        registry.register(
            "node_agent_connected",
            "1 while the node agent is there to tell of pods",
            metrics.node_agent.clone(),
        );
        metrics
    }

    pub(super) fn call(&self, record: &Record, duration: Duration) {
        let verb = verb(&record.verb);
        let labels = Call {
            verb,
            decision: record.decision.map_or("none", DecisionKind::as_str),
            code: record
                .response_status
                .as_ref()
                .map_or("none", |status| class(status.code)),
        };
        self.calls.get_or_create(&labels).inc();
        let decision = labels.decision;
        if record.enforcement == Enforcement::Observe && matches!(decision, "deny" | "hold") {
            self.observed.get_or_create(&Observed { decision }).inc();
        }
        self.duration
            .get_or_create(&Verb { verb })
            .observe(duration.as_secs_f64());
    }

    pub(super) fn connection_error(&self, fault: Fault) {
        let kind = fault.label();
        self.connection_errors
            .get_or_create(&ConnectionError { kind })
            .inc();
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        self.rejections.get_or_create(&Rejected { reason }).inc();
    }
}

/// Verbs are what an agent writes, so only the known ones become labels.
fn verb(verb: &str) -> &'static str {
    RESOURCE_VERBS
        .into_iter()
        .find(|known| *known == verb)
        .unwrap_or("other")
}

fn class(code: i32) -> &'static str {
    match code / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
