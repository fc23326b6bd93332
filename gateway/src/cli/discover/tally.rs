//! Connections added up per workload over all nodes.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{api::v1alpha1::node_coverage::PodCoverage, cli::reports::Report};

#[derive(Debug)]
pub(super) struct Tally {
    namespace: Option<String>,
    now: Timestamp,
    workloads: BTreeMap<(String, String, String, String), (u64, i64)>,
    /// Since when connections are counted, on the node that has counted longest and on the one that has least.
    since: Option<(Timestamp, Timestamp)>,
    nodes: usize,
    stale: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Workload {
    pub(super) namespace: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) service_account: String,
    /// That have connected.
    pub(super) pods: u64,
    pub(super) api_connections: i64,
}

impl Tally {
    /// Of one namespace, or of all.
    pub(super) fn new(namespace: Option<String>, now: Timestamp) -> Self {
        Self {
            namespace,
            now,
            workloads: BTreeMap::new(),
            since: None,
            nodes: 0,
            stale: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, report: &Report) {
        let at = report.status.counted_since;
        self.nodes += 1;
        self.since = Some(match self.since {
            None => (at, at),
            Some((first, last)) => (first.min(at), last.max(at)),
        });
        if report.stale(self.now).is_some() {
            self.stale.push(report.node.clone());
        }
        for pod in &report.status.pods {
            self.add_pod(pod);
        }
    }

    fn add_pod(&mut self, pod: &PodCoverage) {
        let wanted = self
            .namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == pod.namespace);
        if !wanted || pod.api_connections == 0 {
            return;
        }
        let owner = pod.owner.as_ref();
        let (kind, name) = owner.map_or(("Pod", &pod.name), |owner| {
            (owner.kind.as_str(), &owner.name)
        });
        let key = (
            pod.namespace.clone(),
            kind.to_owned(),
            name.clone(),
            pod.service_account.clone(),
        );
        let (pods, connections) = self.workloads.entry(key).or_default();
        *pods += 1;
        *connections = connections.saturating_add(pod.api_connections);
    }

    /// Who connected most comes first.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        let workloads = self.workloads.iter().map(|(key, (pods, api_connections))| {
            let (namespace, kind, name, service_account) = key.clone();
            Workload {
                namespace,
                kind,
                name,
                service_account,
                pods: *pods,
                api_connections: *api_connections,
            }
        });
        let mut workloads: Vec<_> = workloads.collect();
        workloads.sort_by_key(|workload| Reverse(workload.api_connections));
        workloads
    }

    pub(super) fn footnotes(&self) -> Vec<String> {
        let Some((first, last)) = self.since else {
            return vec!["No node agent has reported; does `sallyport node` run?".to_owned()];
        };
        let since = if first == last {
            format!("since {first}")
        } else {
            format!("since {first} at the earliest, {last} at the latest, as each node was set up")
        };
        let nodes = self.nodes;
        let mut notes = vec![format!(
            "Connections, not requests, of pods that run now on {nodes} {}, counted {since}.",
            if nodes == 1 { "node" } else { "nodes" }
        )];
        if self.workloads.is_empty() {
            notes.insert(0, "No workload has connected to the API server.".to_owned());
        }
        if !self.stale.is_empty() {
            notes.push(format!(
                "Reports older than two minutes: {}.",
                self.stale.join(", ")
            ));
        }
        notes
    }

    pub(super) fn shown(&self) -> Value {
        json!({
            "workloads": self.workloads(),
            "countedSince": {
                "earliest": self.since.map(|(first, _)| first),
                "latest": self.since.map(|(_, last)| last),
            },
            "nodes": self.nodes,
            "staleNodes": self.stale,
        })
    }
}
