//! What the request line shows.

use serde_json::Value;

use super::Finding;
use crate::{
    api::{
        names::NAMESPACE,
        v1alpha1::approval_request::RiskLevel::{self, Critical, High, Medium},
    },
    policy::{floor, namespaces},
    request_info::RequestInfo,
};

/// ConfigMaps of `kube-system` that decide who may do what, or where names lead.
const KEYSTONES: &[&str] = &[
    "aws-auth",
    "coredns",
    "extension-apiserver-authentication",
    "kubeadm-config",
];

/// The object gives the name that the URL of a creation lacks.
pub(super) fn findings(request: &RequestInfo, object: Option<&Value>) -> Vec<Finding> {
    if !request.is_resource_request {
        return path(request);
    }
    let name = match request.name.as_str() {
        "" => object.and_then(|object| object["metadata"]["name"].as_str()),
        name => Some(name),
    };
    let mut findings = Vec::new();
    findings.extend(channel(request));
    findings.extend(credential(request, name));
    if !request.is_read_only() && !request.is_connect() {
        findings.extend(control_plane(request, name));
        findings.extend(network(request));
        findings.extend(node(request));
        findings.extend(removal(request));
        findings.extend(other_write(request));
    }
    findings
}

fn path(request: &RequestInfo) -> Vec<Finding> {
    if request.is_read_only() {
        return Vec::new();
    }
    finding(Medium, "it writes to a path outside the resource API")
        .into_iter()
        .collect()
}

/// What opens a way to something behind the API server.
fn channel(request: &RequestInfo) -> Option<Finding> {
    let (resource, subresource) = (request.resource.as_str(), request.subresource.as_str());
    if !request.api_group.is_empty() {
        return None;
    }
    match (resource, subresource) {
        ("nodes", "" | "status") => None,
        ("nodes", _) => finding(
            Critical,
            "it speaks to the node's kubelet, which runs commands in every pod of the node, even for a read",
        ),
        ("pods", "exec") => finding(
            High,
            "it runs a command in a pod, with all that the pod may do and see",
        ),
        ("pods", "attach") => finding(High, "it joins a process that runs in a pod"),
        ("pods", "portforward") => finding(
            High,
            "it opens connections to a pod's ports, past network policies",
        ),
        ("pods", "ephemeralcontainers") if !request.is_read_only() => {
            finding(High, "it adds a container to a pod that runs already")
        }
        ("pods", "proxy") => finding(
            High,
            "it sends requests into a pod through the API server, past network policies",
        ),
        ("services", "proxy") => finding(
            High,
            "it sends requests to a Service through the API server, which may be the API server itself",
        ),
        ("pods", "log") => finding(
            Medium,
            "logs may hold what programs should not have written there",
        ),
        _ => None,
    }
}

/// What shows or makes a credential.
fn credential(request: &RequestInfo, name: Option<&str>) -> Option<Finding> {
    let is_bootstrap_token =
        || name.is_some_and(|name| floor::is_bootstrap_token(&request.namespace, name));
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    match (group, resource, request.verb.as_str()) {
        ("", "serviceaccounts", "create") if request.subresource == "token" => {
            finding(Critical, "it makes a token of a ServiceAccount")
        }
        ("", "secrets", "create" | "patch" | "update") if is_bootstrap_token() => finding(
            Critical,
            "it writes a bootstrap token, which is a credential of the API server itself",
        ),
        ("", "secrets", "get") => finding(High, "it shows the values of a Secret"),
        ("", "secrets", "list" | "watch") => finding(
            High,
            "it shows the values of every Secret it covers, not only their names",
        ),
        ("", "secrets", "patch" | "update") => finding(
            High,
            "the answer to it shows all values of the Secret, also those it does not change",
        ),
        _ => None,
    }
}

/// What decides over the cluster itself, or over who may do what.
fn control_plane(request: &RequestInfo, name: Option<&str>) -> Option<Finding> {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    let grants = matches!(request.verb.as_str(), "create" | "patch" | "update");
    if floor::is_own(group) || request.namespace == NAMESPACE {
        return finding(Critical, "it changes Sallyport itself");
    }
    match (group, resource) {
        ("rbac.authorization.k8s.io", _) if grants => finding(
            Critical,
            "it gives rights: a role says what may be done, a binding says by whom",
        ),
        ("certificates.k8s.io", "certificatesigningrequests")
            if matches!(request.subresource.as_str(), "approval" | "status") =>
        {
            finding(
                Critical,
                "it approves or issues a certificate, which is a credential",
            )
        }
        ("certificates.k8s.io", "clustertrustbundles") => {
            finding(Critical, "it changes whom the cluster's programs trust")
        }
        ("admissionregistration.k8s.io", _) => finding(
            Critical,
            "it changes what the API server checks and alters in every request",
        ),
        ("apiregistration.k8s.io", _) => finding(
            Critical,
            "it changes which server answers for a part of the API",
        ),
        ("flowcontrol.apiserver.k8s.io", _) => finding(
            Critical,
            "it changes whose requests the API server serves first, or at all",
        ),
        ("node.k8s.io", _) => finding(Critical, "it changes what containers run in"),
        ("", "nodes") if request.verb != "delete" && request.verb != "deletecollection" => {
            finding(Critical, "it changes a node, and with it where pods run")
        }
        ("coordination.k8s.io", "leases") if request.namespace == "kube-system" => finding(
            Critical,
            "it can take the lead from the control plane's own programs",
        ),
        ("", "configmaps") if request.namespace == "kube-system" && may_be_keystone(name) => {
            finding(
                Critical,
                "it changes who may log in, or where the cluster's names lead",
            )
        }
        ("apiextensions.k8s.io", _) if grants => {
            finding(High, "it changes what kinds of objects there are")
        }
        _ => None,
    }
}

/// A request that names nothing may be for any of them.
fn may_be_keystone(name: Option<&str>) -> bool {
    name.is_none_or(|name| KEYSTONES.contains(&name))
}

/// What leads traffic elsewhere, or lets it pass.
fn network(request: &RequestInfo) -> Option<Finding> {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    match (group, resource) {
        ("", "endpoints") | ("discovery.k8s.io", "endpointslices") => {
            finding(High, "it decides where a Service's traffic goes")
        }
        ("networking.k8s.io", "ingresses") | ("gateway.networking.k8s.io", _) => {
            finding(High, "it lets traffic in from outside the cluster")
        }
        ("", "services") if request.subresource == "status" => finding(
            High,
            "it can lead other programs' traffic to itself (CVE-2020-8554)",
        ),
        ("networking.k8s.io", "networkpolicies")
        | (
            "policy.networking.k8s.io"
            | "crd.projectcalico.org"
            | "projectcalico.org"
            | "cilium.io",
            _,
        ) if request.verb != "create" => finding(
            High,
            "it can take away a limit on which pods may speak to which",
        ),
        _ => None,
    }
}

/// What moves pods about, or decides what they may use.
fn node(request: &RequestInfo) -> Option<Finding> {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    match (group, resource, request.subresource.as_str()) {
        ("", "pods", "eviction") => finding(High, "it ends a pod to make room"),
        ("", "pods", "binding") | ("", "bindings", _) => {
            finding(High, "it puts a pod on a node past the scheduler")
        }
        ("", "pods", "status") => finding(
            High,
            "it can claim that a pod is healthy, or where its traffic goes",
        ),
        ("", "namespaces", _) => finding(
            High,
            "it changes a namespace, whose labels decide what its pods may do and which traffic they get",
        ),
        ("storage.k8s.io", "storageclasses" | "csidrivers" | "volumeattachments", _) => {
            finding(High, "it decides what disks pods get and what serves them")
        }
        ("", "pods", _)
        | ("apps" | "batch", _, _)
        | ("", "replicationcontrollers" | "podtemplates", _)
            if namespaces::is_privileged(&request.namespace) =>
        {
            finding(
                High,
                "it changes what runs in a namespace of the cluster itself",
            )
        }
        _ => None,
    }
}

/// What takes much away at once.
fn removal(request: &RequestInfo) -> Option<Finding> {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    match (request.verb.as_str(), group, resource) {
        ("deletecollection", _, _) => finding(High, "it deletes every object that it covers"),
        ("delete", "", "persistentvolumeclaims" | "persistentvolumes") => {
            finding(High, "it can delete stored data for good")
        }
        ("delete", "", "nodes") => finding(High, "it takes a node away with all that runs there"),
        ("delete", "apiextensions.k8s.io", _) => finding(
            High,
            "it deletes a kind of objects, and with it every object of that kind",
        ),
        ("delete", "apps", "statefulsets") => finding(High, "it ends a program that keeps data"),
        ("delete", "", "limitranges" | "resourcequotas") => {
            finding(High, "it takes away a limit on what may be used")
        }
        ("delete", "policy", "poddisruptionbudgets") => {
            finding(High, "it takes away the promise that enough pods stay up")
        }
        _ => None,
    }
}

fn other_write(request: &RequestInfo) -> Option<Finding> {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    let reason = match (group, resource, request.verb.as_str()) {
        ("authentication.k8s.io" | "authorization.k8s.io", _, _) => return None,
        ("", "configmaps", _) => "it changes settings that programs read",
        ("batch", "cronjobs" | "jobs", _) => "it changes work that runs on its own",
        ("autoscaling", _, _) => "it changes how many pods run",
        ("" | "events.k8s.io", "events", "delete") => "it deletes traces of what happened",
        (_, _, "delete") => "it deletes an object",
        _ => "it changes an object",
    };
    finding(Medium, reason)
}

fn finding(level: RiskLevel, reason: &str) -> Option<Finding> {
    Some((level, reason.to_owned()))
}
