//! Which namespaces a request touches.

use crate::request_info::RequestInfo;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach<'a> {
    Namespace(&'a str),
    /// An object that is in no namespace.
    Cluster,
    /// Every namespace, or, for a resource we do not know, possibly.
    AllNamespaces,
}

impl<'a> Reach<'a> {
    pub(super) fn of(request: &'a RequestInfo) -> Self {
        if !request.namespace.is_empty() {
            return Self::Namespace(&request.namespace);
        }
        let spans = match request.verb.as_str() {
            "list" | "watch" | "deletecollection" => true,
            "create" => request.name.is_empty(),
            _ => false,
        };
        if spans && !is_cluster_scoped(&request.api_group, &request.resource) {
            return Self::AllNamespaces;
        }
        Self::Cluster
    }
}

/// The cluster-scoped resources of Kubernetes itself, each by name: one that is missing here is judged
/// more strictly, not less.
fn is_cluster_scoped(api_group: &str, resource: &str) -> bool {
    let known: &[&str] = match api_group {
        "" => &[
            "componentstatuses",
            "namespaces",
            "nodes",
            "persistentvolumes",
        ],
        "admissionregistration.k8s.io" => &[
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ],
        "apiextensions.k8s.io" => &["customresourcedefinitions"],
        "apiregistration.k8s.io" => &["apiservices"],
        "authentication.k8s.io" => &["selfsubjectreviews", "tokenreviews"],
        "authorization.k8s.io" => &[
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        ],
        "certificates.k8s.io" => &["certificatesigningrequests", "clustertrustbundles"],
        "flowcontrol.apiserver.k8s.io" => &["flowschemas", "prioritylevelconfigurations"],
        "internal.apiserver.k8s.io" => &["storageversions"],
        "metrics.k8s.io" => &["nodes"],
        "networking.k8s.io" => &["ingressclasses", "ipaddresses", "servicecidrs"],
        "node.k8s.io" => &["runtimeclasses"],
        "rbac.authorization.k8s.io" => &["clusterrolebindings", "clusterroles"],
        "resource.k8s.io" => &["deviceclasses", "devicetaintrules", "resourceslices"],
        "sallyport.dev" => &["agentpolicies", "agents"],
        "scheduling.k8s.io" => &["priorityclasses"],
        "storage.k8s.io" => &[
            "csidrivers",
            "csinodes",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
        "storagemigration.k8s.io" => &["storageversionmigrations"],
        _ => &[],
    };
    known.contains(&resource)
}
