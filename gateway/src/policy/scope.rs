//! Which namespaces a request touches.

use crate::request_info::RequestInfo;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope<'a> {
    Namespace(&'a str),
    /// An object that is in no namespace.
    Cluster,
    /// Every namespace, or, for a resource we do not know, possibly.
    AllNamespaces,
}

impl<'a> Scope<'a> {
    pub(super) fn of(request: &'a RequestInfo) -> Self {
        if !request.namespace.is_empty() {
            return Self::Namespace(&request.namespace);
        }
        let spans = matches!(
            request.verb.as_str(),
            "list" | "watch" | "deletecollection" | "create"
        );
        if spans && !is_cluster_scoped(&request.api_group, &request.resource) {
            return Self::AllNamespaces;
        }
        Self::Cluster
    }
}

/// The cluster-scoped resources of Kubernetes itself. One that is missing here is judged more strictly,
/// not less.
fn is_cluster_scoped(api_group: &str, resource: &str) -> bool {
    match api_group {
        "" => matches!(
            resource,
            "componentstatuses" | "namespaces" | "nodes" | "persistentvolumes"
        ),
        "admissionregistration.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io" => true,
        "authentication.k8s.io" => true,
        "authorization.k8s.io" => resource != "localsubjectaccessreviews",
        "certificates.k8s.io" => matches!(
            resource,
            "certificatesigningrequests" | "clustertrustbundles"
        ),
        "flowcontrol.apiserver.k8s.io" | "internal.apiserver.k8s.io" | "node.k8s.io" => true,
        "networking.k8s.io" => {
            matches!(resource, "ingressclasses" | "ipaddresses" | "servicecidrs")
        }
        "rbac.authorization.k8s.io" => matches!(resource, "clusterroles" | "clusterrolebindings"),
        "resource.k8s.io" => matches!(resource, "deviceclasses" | "resourceslices"),
        "scheduling.k8s.io" => resource == "priorityclasses",
        "storage.k8s.io" => resource != "csistoragecapacities",
        "sallyport.dev" => matches!(resource, "agents" | "agentpolicies"),
        _ => false,
    }
}
