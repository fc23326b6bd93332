//! Where an object says what pods are to run.

use serde_json::Value;

use crate::request_info::RequestInfo;

/// Whether the resource is a pod or makes pods, among those of Kubernetes itself.
pub(super) fn makes_pods(api_group: &str, resource: &str) -> bool {
    template_path(api_group, resource).is_some()
}

/// What has the pod's `metadata` and `spec`.
pub(super) fn template<'a>(request: &RequestInfo, object: &'a Value) -> Option<&'a Value> {
    object.pointer(template_path(&request.api_group, &request.resource)?)
}

/// A ControllerRevision keeps the template that a rollback brings back.
fn template_path(api_group: &str, resource: &str) -> Option<&'static str> {
    match (api_group, resource) {
        ("", "pods") => Some(""),
        ("", "podtemplates") => Some("/template"),
        ("apps", "controllerrevisions") => Some("/data/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => Some("/spec/template"),
        _ => None,
    }
}

/// The containers of a pod, those that start first and those that were added later included.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|kind| items(&spec[kind]))
}

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
