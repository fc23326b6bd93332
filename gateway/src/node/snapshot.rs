//! What the node agent sees of its pods at one moment.

use k8s_openapi::api::core::v1::Pod;

pub(super) use crate::api::v1alpha1::node_coverage::{CoverageState, Owner};

/// Filled by whoever observes, published as the node's `NodeCoverage`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Snapshot {
    pub(super) pods: Vec<PodSnapshot>,
    /// What is wrong on the node as a whole.
    pub(super) problems: Vec<String>,
}

impl Snapshot {
    pub(super) fn count(&self, state: CoverageState) -> usize {
        self.pods.iter().filter(|pod| pod.state == state).count()
    }
}

/// Why a pod passes that nobody meant to be an agent. An event tells of every other reason to pass.
pub(super) const NO_AGENT: &str = "this is no agent";

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PodSnapshot {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) service_account: String,
    /// The object that made the pod, a Deployment's ReplicaSet being the Deployment; `None` for a bare pod.
    pub(super) owner: Option<Owner>,
    pub(super) state: CoverageState,
    /// Why it is so, for a person: lower case, without a full stop.
    pub(super) reason: String,
    /// How often the pod connected to the API server since counting began.
    pub(super) api_connections: u64,
}

/// Who made `pod`. A ReplicaSet of a Deployment is named after it and the hash that is on the pod too.
pub(super) fn owner(pod: &Pod) -> Option<Owner> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    let (kind, name) = (controller.kind.as_str(), controller.name.as_str());
    let deployment = template_hash(pod).and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    let (kind, name) = match deployment {
        Some(deployment) if kind == "ReplicaSet" => ("Deployment", deployment),
        _ => (kind, name),
    };
    Some(Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

fn template_hash(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get("pod-template-hash").map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(kind: &str, name: &str, labels: serde_json::Value) -> Option<String> {
        let reference =
            json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true});
        let pod =
            json!({"metadata": {"name": "p", "labels": labels, "ownerReferences": [reference]}});
        let owner = owner(&serde_json::from_value(pod).expect("a pod"))?;
        Some(format!("{}/{}", owner.kind, owner.name))
    }

    #[test]
    fn a_replica_set_of_a_deployment_is_the_deployment() {
        let hash = json!({"pod-template-hash": "5d8f"});
        assert_eq!(
            owned("ReplicaSet", "web-5d8f", hash.clone()).as_deref(),
            Some("Deployment/web")
        );
        assert_eq!(
            owned("ReplicaSet", "web", hash.clone()).as_deref(),
            Some("ReplicaSet/web")
        );
        assert_eq!(
            owned("Rollout", "web-5d8f", hash).as_deref(),
            Some("Rollout/web-5d8f")
        );
        assert_eq!(
            owned("DaemonSet", "logs", json!({})).as_deref(),
            Some("DaemonSet/logs")
        );
    }

    #[test]
    fn a_pod_that_a_person_made_has_no_owner() {
        assert_eq!(owner(&Pod::default()), None);
    }
}
