//! Pods as the API server has them, beside what node agents say of them.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Serializer;

use crate::{
    api::v1alpha1::node_coverage::{CoverageState, PodCoverage},
    cli::{reports::Report, table::short},
};

/// A pod of which something runs, or will.
#[derive(Clone, Debug, Default)]
pub(super) struct LivePod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) node: Option<String>,
}

impl LivePod {
    /// `None` for one that has ended.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        })
    }
}

/// What is said of one pod.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Line {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) node: String,
    #[serde(serialize_with = "as_shown")]
    pub(super) state: CoverageState,
    pub(super) reason: String,
}

/// JSON and table say the same words.
fn as_shown<S: Serializer>(state: &CoverageState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

impl Line {
    pub(super) fn is_covered(&self) -> bool {
        matches!(self.state, CoverageState::Captured | CoverageState::Exempt)
    }
}

/// What needs a person comes first.
pub(super) fn lines(
    pods: &[LivePod],
    reports: &HashMap<String, Report>,
    now: Timestamp,
) -> Vec<Line> {
    let told: HashMap<_, _> = reports
        .values()
        .flat_map(|report| &report.status.pods)
        .map(|pod| (pod.uid.as_str(), pod))
        .collect();
    let scheduled = pods
        .iter()
        .filter_map(|pod| Some((pod, pod.node.as_ref()?)));
    let mut lines: Vec<_> = scheduled
        .map(|(pod, node)| {
            line(
                pod,
                node,
                reports.get(node),
                told.get(pod.uid.as_str()).copied(),
                now,
            )
        })
        .collect();
    lines.sort_by(|a, b| order(a).cmp(&order(b)));
    lines
}

fn order(line: &Line) -> (u8, &str, &str) {
    let urgency = match line.state {
        CoverageState::Denied => 0,
        CoverageState::NeedsRecreate => 1,
        CoverageState::Unknown => 2,
        CoverageState::Captured => 3,
        CoverageState::Exempt => 4,
    };
    (urgency, &line.namespace, &line.pod)
}

fn line(
    pod: &LivePod,
    node: &str,
    report: Option<&Report>,
    told: Option<&PodCoverage>,
    now: Timestamp,
) -> Line {
    let unknown = |reason: String| (CoverageState::Unknown, reason);
    let (state, reason) = match (report, told) {
        (None, _) => unknown(format!(
            "no node agent has reported from {node}: does one run there?"
        )),
        (Some(report), told) => match (report.stale(now), told) {
            (Some(age), _) => unknown(format!(
                "the node agent of {node} last reported {} ago",
                short(age)
            )),
            (None, None) => unknown(format!(
                "the node agent of {node} has not seen this pod yet"
            )),
            (None, Some(told)) => (told.state, told.reason.clone()),
        },
    };
    Line {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        node: node.to_owned(),
        state,
        reason,
    }
}
