//! What only the object shows: labels that say who is an agent, and Secrets that a pod would read.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::denial;
use crate::{
    policy::{
        Denial,
        expression::Scope,
        judgement::Wants,
        pods::{self, containers, items},
    },
    request_info::RequestInfo,
};

const LABELS: &str = "sallyport.dev/";
/// Makes a pod an agent when it is created, which takes nothing away from anybody.
const AGENT: (&str, &str) = ("sallyport.dev/agent", "true");
/// Each is judged by all rules.
const MAX_SECRETS: usize = 64;

/// The facts without which the call cannot be judged, of those that are not learned.
pub(in crate::policy) fn wants(scope: &Scope<'_>) -> Wants {
    let request = scope.attributes().request;
    let labelled = labels_matter(request);
    let matters =
        labelled || pods::makes_pods(&request.api_group, &request.resource) && is_written(request);
    Wants {
        object: matters && scope.lacks_object(),
        old_object: labelled && scope.lacks_old_object(),
    }
}

/// Judges the labels. What it needs is learned.
pub(in crate::policy) fn check(scope: &Scope<'_>) -> Result<(), Denial> {
    let request = scope.attributes().request;
    if !labels_matter(request) {
        return Ok(());
    }
    let creates = scope.old_object().is_none() || request.resource != "pods";
    let (old, new) = (
        labels(request, scope.old_object()),
        labels(request, scope.object()),
    );
    match changed(&old, &new).find(|label| !(creates && is_harmless(request, label, &old, &new))) {
        Some(label) => Err(own_label(label)),
        None => Ok(()),
    }
}

/// The Secrets that what is to run would read, by name, as few as can be judged.
pub(in crate::policy) fn secrets(scope: &Scope<'_>) -> Result<BTreeSet<String>, Denial> {
    let names = read_by_pods(scope.attributes().request, scope.object());
    if names.len() > MAX_SECRETS {
        let reason = format!("what is to run reads more than {MAX_SECRETS} Secrets");
        return Err(denial(
            "floor-secrets",
            &reason,
            "Read fewer Secrets from one pod.",
        ));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The Secrets that what a call leaves to run would read, by name.
///
/// Those that pull images are left out: the kubelet alone reads them, to pull what the pod names, and no container
/// sees them.
pub fn read_by_pods<'o>(request: &RequestInfo, object: Option<&'o Value>) -> BTreeSet<&'o str> {
    let template = object
        .filter(|_| is_written(request))
        .and_then(|object| pods::template(request, object));
    let mut names = BTreeSet::new();
    if let Some(spec) = template.map(|template| &template["spec"]) {
        names.extend(items(&spec["volumes"]).flat_map(of_volume));
        names.extend(containers(spec).flat_map(of_container));
    }
    names
}

/// The facts that `wants` asked for will never be learned.
pub(in crate::policy) fn unlearned(request: &RequestInfo) -> Denial {
    let reason = format!(
        "the gateway must know the object that {} {} leaves behind, and could not learn it",
        request.verb, request.resource
    );
    denial(
        "floor-unknown-object",
        &reason,
        "Send the whole object as JSON or YAML, or ask whoever runs the gateway to look at its log.",
    )
}

fn own_label(label: &str) -> Denial {
    let reason = format!(
        "the label {label:?} says what is an agent, and agents cannot set, change or remove it"
    );
    denial(
        "floor-own-labels",
        &reason,
        "Leave the label as it is; a person changes it, without going through the gateway.",
    )
}

/// Whether the object has labels by which we know agents, and the call could change them.
fn labels_matter(request: &RequestInfo) -> bool {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    let known = group.is_empty() && matches!(resource, "namespaces" | "nodes" | "pods");
    let carries =
        known && stores_object(request) || pods::makes_pods(group, resource) && is_written(request);
    let removes = request.verb == "delete" && group.is_empty() && resource == "namespaces";
    carries && matches!(request.verb.as_str(), "create" | "update" | "patch") || removes
}

/// The body of these is no such object.
fn stores_object(request: &RequestInfo) -> bool {
    !matches!(
        request.subresource.as_str(),
        "binding" | "eviction" | "proxy"
    ) && !request.is_stream()
}

/// Whether the object itself is written, with what is to run.
pub(super) fn is_written(request: &RequestInfo) -> bool {
    let written = matches!(
        request.subresource.as_str(),
        "" | "ephemeralcontainers" | "resize"
    );
    written && matches!(request.verb.as_str(), "create" | "update" | "patch")
}

/// Our labels of the object itself and of the pods it makes.
fn labels<'a>(request: &RequestInfo, object: Option<&'a Value>) -> Labels<'a> {
    let Some(object) = object else {
        return Vec::new();
    };
    let of = |value: &'a Value| value["metadata"]["labels"].as_object();
    let itself = request.api_group.is_empty().then(|| of(object)).flatten();
    let made = pods::template(request, object).and_then(of);
    let ours = |labels: &'a Map<String, Value>| {
        labels
            .iter()
            .filter(|(label, _)| label.starts_with(LABELS))
            .map(|(label, value)| (label.as_str(), value))
    };
    itself.into_iter().chain(made).flat_map(ours).collect()
}

type Labels<'a> = Vec<(&'a str, &'a Value)>;

fn changed<'a>(old: &'a Labels<'a>, new: &'a Labels<'a>) -> impl Iterator<Item = &'a str> {
    let gone = old.iter().filter(|label| !new.contains(label));
    let come = new.iter().filter(|label| !old.contains(label));
    gone.chain(come).map(|(label, _)| *label)
}

fn is_harmless(request: &RequestInfo, label: &str, old: &Labels<'_>, new: &Labels<'_>) -> bool {
    let is_set = new
        .iter()
        .any(|(name, value)| *name == label && **value == AGENT.1);
    let was_set = old.iter().any(|(name, _)| *name == label);
    pods::makes_pods(&request.api_group, &request.resource)
        && label == AGENT.0
        && is_set
        && !was_set
}

fn of_volume(volume: &Value) -> Vec<&str> {
    let projected = items(&volume["projected"]["sources"]).map(|source| &source["secret"]["name"]);
    let direct = [
        &volume["secret"]["secretName"],
        &volume["azureFile"]["secretName"],
        &volume["csi"]["nodePublishSecretRef"]["name"],
    ];
    let by_driver = [
        "cephfs",
        "cinder",
        "flexVolume",
        "iscsi",
        "rbd",
        "scaleIO",
        "storageos",
    ];
    let by_driver = by_driver
        .into_iter()
        .map(|driver| &volume[driver]["secretRef"]["name"]);
    direct
        .into_iter()
        .chain(projected)
        .chain(by_driver)
        .filter_map(Value::as_str)
        .collect()
}

fn of_container(container: &Value) -> Vec<&str> {
    let variables = items(&container["env"]).map(|env| &env["valueFrom"]["secretKeyRef"]["name"]);
    let all = items(&container["envFrom"]).map(|from| &from["secretRef"]["name"]);
    variables.chain(all).filter_map(Value::as_str).collect()
}
