//! What a pod that is to run could do to its node and its neighbours.

use serde_json::Value;

use super::Finding;
use crate::{
    AUDIENCE,
    api::v1alpha1::approval_request::RiskLevel::High,
    policy::pods::{containers, items, template},
    request_info::RequestInfo,
};

/// Capabilities that every container may have anyway.
const HARMLESS: &[&str] = &["NET_BIND_SERVICE"];

pub(super) fn findings(request: &RequestInfo, object: &Value) -> Vec<Finding> {
    let Some(spec) = template(request, object).map(|template| &template["spec"]) else {
        return Vec::new();
    };
    ways_to_node(spec)
        .chain(of_pod(spec))
        .chain(containers(spec).flat_map(ports_of_node))
        .map(|reason| (High, reason))
        .collect()
}

/// Whether what is to run could do to its node, or to what else runs there, what it likes.
pub(super) fn reach_node(request: &RequestInfo, object: &Value) -> bool {
    let pod = template(request, object);
    pod.is_some_and(|pod| ways_to_node(&pod["spec"]).next().is_some())
}

fn ways_to_node(spec: &Value) -> impl Iterator<Item = String> {
    let is = |field: &str| spec[field] == Value::Bool(true);
    let windows = spec["securityContext"]["windowsOptions"]["hostProcess"] == Value::Bool(true);
    let host_path = items(&spec["volumes"]).find_map(|volume| volume["hostPath"]["path"].as_str());
    [
        is("hostNetwork").then(|| {
            "the pod uses its node's network, where nothing tells it from the node".to_owned()
        }),
        is("hostPID").then(|| "the pod sees and may end every process of its node".to_owned()),
        is("hostIPC").then(|| "the pod shares memory with the programs of its node".to_owned()),
        windows.then(|| "the pod runs as a program of its Windows node".to_owned()),
        host_path.map(|path| format!("the pod gets the path {path:?} of its node")),
    ]
    .into_iter()
    .flatten()
    .chain(containers(spec).flat_map(privileges))
}

fn of_pod(spec: &Value) -> impl Iterator<Item = String> {
    let is = |field: &str| spec[field] == Value::Bool(true);
    let account = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .filter_map(|field| spec[field].as_str())
        .find(|name| !matches!(*name, "" | "default"));
    let foreign = items(&spec["volumes"])
        .flat_map(|volume| items(&volume["projected"]["sources"]))
        .map(|source| &source["serviceAccountToken"])
        .any(|token| token.is_object() && token["audience"] != AUDIENCE);
    [
        spec["nodeName"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(|name| format!("the pod is put on the node {name:?} past the scheduler")),
        account.map(|name| format!("the pod acts as the ServiceAccount {name:?}")),
        is("automountServiceAccountToken")
            .then(|| "the pod asks for a token of its ServiceAccount".to_owned()),
        foreign.then(|| "the pod asks for a token that is not for Sallyport".to_owned()),
    ]
    .into_iter()
    .flatten()
}

fn privileges(container: &Value) -> impl Iterator<Item = String> {
    let name = name(container);
    let context = &container["securityContext"];
    let is = |field: &str| context[field] == Value::Bool(true);
    let added: Vec<_> = items(&context["capabilities"]["add"])
        .filter_map(Value::as_str)
        .filter(|name| !HARMLESS.contains(name))
        .collect();
    let unmasked = context["procMount"].as_str() == Some("Unmasked");
    [
        is("privileged").then(|| "is privileged: it can do to its node what it likes".to_owned()),
        (!added.is_empty()).then(|| format!("gets the capabilities {}", added.join(", "))),
        unmasked.then(|| "sees and changes the kernel's settings in /proc".to_owned()),
        (context["windowsOptions"]["hostProcess"] == Value::Bool(true))
            .then(|| "runs as a program of its Windows node".to_owned()),
    ]
    .into_iter()
    .flatten()
    .map(move |what| format!("the container {name:?} {what}"))
}

fn ports_of_node(container: &Value) -> Option<String> {
    let name = name(container);
    let port = items(&container["ports"])
        .filter_map(|port| port["hostPort"].as_u64())
        .find(|port| *port != 0)?;
    Some(format!(
        "the container {name:?} takes the port {port} of its node"
    ))
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or("?")
}
