//! What objects other than pods show.

use serde_json::Value;

use super::Finding;
use crate::{
    api::v1alpha1::approval_request::RiskLevel::{Critical, High},
    policy::{
        floor,
        pods::{items, makes_pods},
    },
    request_info::RequestInfo,
};

/// Signers whose certificates are credentials of the cluster.
const SIGNERS: &[&str] = &[
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
];

/// Whether `findings` here or in `pods` looks at objects of the resource.
pub(super) fn matter(request: &RequestInfo) -> bool {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    match request.subresource.as_str() {
        "" => {}
        "scale" => return true,
        "ephemeralcontainers" => return group.is_empty() && resource == "pods",
        _ => return false,
    }
    makes_pods(group, resource)
        || matches!(
            (group, resource),
            ("", "persistentvolumes" | "secrets" | "services")
                | ("apiextensions.k8s.io", "customresourcedefinitions")
                | ("certificates.k8s.io", "certificatesigningrequests")
        )
        || is_nameless_keystone(request)
}

/// The object has the name that decides over its class.
fn is_nameless_keystone(request: &RequestInfo) -> bool {
    request.name.is_empty()
        && request.namespace == "kube-system"
        && request.resource == "configmaps"
}

/// What is found in a `spec` that stays as it is was found when that came. A Secret has none.
pub(super) fn findings(
    request: &RequestInfo,
    object: &Value,
    before: Option<&Value>,
) -> Vec<Finding> {
    if before.is_some_and(|before| before.get("spec").is_some() && before["spec"] == object["spec"])
    {
        return Vec::new();
    }
    let found = match (request.api_group.as_str(), request.resource.as_str()) {
        (_, _) if request.subresource == "scale" => scale(request, object, before),
        ("", "persistentvolumes") => persistent_volume(object),
        ("", "secrets") => secret(object),
        ("", "services") => service(object),
        ("apiextensions.k8s.io", _) => definition(object),
        ("certificates.k8s.io", _) => signing_request(object),
        ("apps", _) => scale(request, object, before),
        _ => None,
    };
    found.into_iter().collect()
}

fn scale(request: &RequestInfo, object: &Value, before: Option<&Value>) -> Option<Finding> {
    let is_none = |object: &Value| object["spec"]["replicas"].as_u64() == Some(0);
    let to_zero = is_none(object) && !before.is_some_and(is_none) && request.verb != "create";
    to_zero.then(|| (High, "it leaves no pod running".to_owned()))
}

fn persistent_volume(object: &Value) -> Option<Finding> {
    let spec = &object["spec"];
    let path = ["hostPath", "local"]
        .into_iter()
        .find_map(|kind| spec[kind]["path"].as_str())?;
    Some((
        High,
        format!("it makes the path {path:?} of a node a volume for pods"),
    ))
}

fn secret(object: &Value) -> Option<Finding> {
    let secret_type = object["type"].as_str()?;
    floor::holds_token(secret_type).then(|| {
        let reason = format!(
            "a Secret of type {secret_type} is, or is given, a token that is valid for the API server itself"
        );
        (Critical, reason)
    })
}

fn service(object: &Value) -> Option<Finding> {
    let spec = &object["spec"];
    let reason = if spec["type"] == "ExternalName" {
        "it gives a name of the cluster to something outside it"
    } else if items(&spec["externalIPs"]).next().is_some() {
        "it takes the traffic to addresses that may not be its own (CVE-2020-8554)"
    } else if spec["selector"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
    {
        "it selects no pods, so whoever writes its endpoints decides where its traffic goes"
    } else {
        return None;
    };
    Some((High, reason.to_owned()))
}

fn definition(object: &Value) -> Option<Finding> {
    let converts = object["spec"]["conversion"]["strategy"] == "Webhook";
    converts.then(|| {
        (
            Critical,
            "a webhook of its own would read and alter every object of the kind".to_owned(),
        )
    })
}

fn signing_request(object: &Value) -> Option<Finding> {
    let signer = object["spec"]["signerName"].as_str()?;
    SIGNERS.contains(&signer).then(|| {
        (
            Critical,
            format!("a certificate of the signer {signer:?} is a credential of the cluster"),
        )
    })
}
