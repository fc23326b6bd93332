//! What a pod that is to run could do to its node and its neighbours.

use std::collections::BTreeMap;

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

/// What is found in these fields alone, whatever else is in the spec.
const FOUND: [&str; 8] = [
    "automountServiceAccountToken",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "nodeName",
    "serviceAccount",
    "serviceAccountName",
    "volumes",
];

/// What a pod was before is no finding, unless it would now be made use of in another way.
pub(super) fn findings(
    request: &RequestInfo,
    object: &Value,
    before: Option<&Value>,
) -> Vec<Finding> {
    let Some(spec) = spec_of(request, object) else {
        return Vec::new();
    };
    let before = before.filter(|before| !starts(object, before));
    let before = before.and_then(|before| spec_of(request, before));
    let placed = placement(spec).filter(|_| before.and_then(placement) != placement(spec));
    placed
        .into_iter()
        .chain(added(spec, before, |spec| {
            ways_to_node(spec)
                .chain(of_pod(spec))
                .chain(containers(spec).flat_map(ports_of_node))
                .collect()
        }))
        .map(|reason| (High, reason))
        .collect()
}

/// Whether what is to run could do to its node, or to what else runs there, what it likes, and could not before.
pub(super) fn reach_node(request: &RequestInfo, object: &Value, before: Option<&Value>) -> bool {
    let before = before.filter(|before| !starts(object, before));
    let before = before.and_then(|before| spec_of(request, before));
    let spec = spec_of(request, object);
    spec.is_some_and(|spec| {
        let before = before.filter(|before| before["nodeName"] == spec["nodeName"]);
        !added(spec, before, |spec| ways_to_node(spec).collect()).is_empty()
    })
}

fn spec_of<'o>(request: &RequestInfo, object: &'o Value) -> Option<&'o Value> {
    template(request, object).map(|template| &template["spec"])
}

fn added(
    spec: &Value,
    before: Option<&Value>,
    found: impl Fn(&Value) -> Vec<String>,
) -> Vec<String> {
    let known = before.filter(|before| runs_the_same(spec, before));
    let known = known.map(&found).unwrap_or_default();
    let mut added = found(spec);
    added.retain(|reason| !known.contains(reason));
    added
}

/// The same programs as the same users in the same sandbox on the same nodes, with all that they were given.
fn runs_the_same(spec: &Value, before: &Value) -> bool {
    let is_given = |volume: &Value| items(&spec["volumes"]).any(|given| given == volume);
    others(spec) == others(before) && items(&before["volumes"]).all(is_given)
}

/// The fields of a pod's spec that no finding names.
fn others(spec: &Value) -> BTreeMap<&String, &Value> {
    let fields = spec.as_object().into_iter().flatten();
    let others = fields.filter(|(name, _)| !FOUND.contains(&name.as_str()));
    others.collect()
}

/// Whether a workload that made no pods, or made them at other times, would make them now.
fn starts(object: &Value, before: &Value) -> bool {
    let (spec, before) = (&object["spec"], &before["spec"]);
    let differs = |field: &str| before[field] != spec[field];
    makes_pods_anew(spec, before)
        || makes_pods_anew(&spec["jobTemplate"]["spec"], &before["jobTemplate"]["spec"])
        || ["schedule", "timeZone"].into_iter().any(differs)
}

fn makes_pods_anew(spec: &Value, before: &Value) -> bool {
    let began = |field: &str| before[field] == 0 && spec[field] != 0;
    let resumed = before["suspend"] == true && spec["suspend"] != true;
    resumed || ["replicas", "parallelism"].into_iter().any(began)
}

fn ways_to_node(spec: &Value) -> impl Iterator<Item = String> {
    let is = |field: &str| spec[field] == Value::Bool(true);
    let windows = spec["securityContext"]["windowsOptions"]["hostProcess"] == Value::Bool(true);
    let host_paths = items(&spec["volumes"])
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .map(|path| format!("the pod gets the path {path:?} of its node"));
    [
        is("hostNetwork").then(|| {
            "the pod uses its node's network, where nothing tells it from the node".to_owned()
        }),
        is("hostPID").then(|| "the pod sees and may end every process of its node".to_owned()),
        is("hostIPC").then(|| "the pod shares memory with the programs of its node".to_owned()),
        windows.then(|| "the pod runs as a program of its Windows node".to_owned()),
    ]
    .into_iter()
    .flatten()
    .chain(host_paths)
    .chain(containers(spec).flat_map(privileges))
}

/// A pod that runs has a node, from the scheduler.
fn placement(spec: &Value) -> Option<String> {
    let node = spec["nodeName"].as_str().filter(|name| !name.is_empty())?;
    Some(format!(
        "the pod is put on the node {node:?} past the scheduler"
    ))
}

fn of_pod(spec: &Value) -> impl Iterator<Item = String> {
    let is = |field: &str| spec[field] == Value::Bool(true);
    let account = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .filter_map(|field| spec[field].as_str())
        .find(|name| !matches!(*name, "" | "default"));
    let foreign = items(&spec["volumes"]).flat_map(foreign_tokens);
    [
        account.map(|name| format!("the pod acts as the ServiceAccount {name:?}")),
        is("automountServiceAccountToken")
            .then(|| "the pod asks for a token of its ServiceAccount".to_owned()),
    ]
    .into_iter()
    .flatten()
    .chain(foreign)
}

fn foreign_tokens(volume: &Value) -> impl Iterator<Item = String> {
    let name = volume["name"].as_str().unwrap_or("?");
    items(&volume["projected"]["sources"])
        .map(|source| &source["serviceAccountToken"])
        .filter(|token| token.is_object() && token["audience"] != AUDIENCE)
        .map(move |token| {
            let audience = token["audience"].as_str().unwrap_or_default();
            format!(
                "the pod asks for a token that is not for Sallyport, but for {audience:?}, in its volume {name:?}"
            )
        })
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

fn ports_of_node(container: &Value) -> impl Iterator<Item = String> {
    let name = name(container);
    items(&container["ports"])
        .filter_map(|port| port["hostPort"].as_u64())
        .filter(|port| *port != 0)
        .map(move |port| format!("the container {name:?} takes the port {port} of its node"))
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or("?")
}
