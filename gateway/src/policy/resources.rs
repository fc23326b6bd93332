//! What Kubernetes' own resources are, each by name: one that is missing here is judged more strictly, not less.

use crate::request_info::RequestInfo;

/// Objects in etcd: reviews, tokens and metrics are answers, and are not among them.
pub(super) fn is_stored_by_kubernetes(api_group: &str, resource: &str) -> bool {
    stored(api_group).contains(&resource)
}

/// Whether a write of the resource may start pods that nobody here can foresee: it is not Kubernetes' own.
pub(super) fn is_unknown(request: &RequestInfo) -> bool {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    !is_stored_by_kubernetes(group, resource) && !answered(group).contains(&resource)
}

/// Whether Kubernetes itself names resources in the group, so that nobody else's are expected there.
pub(super) fn is_own_group(api_group: &str) -> bool {
    !stored(api_group).is_empty() || !answered(api_group).is_empty()
}

fn stored(api_group: &str) -> &'static [&'static str] {
    match api_group {
        "" => &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "replicationcontrollers",
            "resourcequotas",
            "secrets",
            "serviceaccounts",
            "services",
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
        "apps" => &[
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
        ],
        "autoscaling" => &["horizontalpodautoscalers"],
        "batch" => &["cronjobs", "jobs"],
        "certificates.k8s.io" => &[
            "certificatesigningrequests",
            "clustertrustbundles",
            "podcertificaterequests",
        ],
        "coordination.k8s.io" => &["leasecandidates", "leases"],
        "discovery.k8s.io" => &["endpointslices"],
        "events.k8s.io" => &["events"],
        "flowcontrol.apiserver.k8s.io" => &["flowschemas", "prioritylevelconfigurations"],
        "internal.apiserver.k8s.io" => &["storageversions"],
        "networking.k8s.io" => &[
            "ingressclasses",
            "ingresses",
            "ipaddresses",
            "networkpolicies",
            "servicecidrs",
        ],
        "node.k8s.io" => &["runtimeclasses"],
        "policy" => &["poddisruptionbudgets"],
        "rbac.authorization.k8s.io" => &[
            "clusterrolebindings",
            "clusterroles",
            "rolebindings",
            "roles",
        ],
        "resource.k8s.io" => &[
            "deviceclasses",
            "devicetaintrules",
            "resourceclaims",
            "resourceclaimtemplates",
            "resourceslices",
        ],
        "scheduling.k8s.io" => &["priorityclasses"],
        "storage.k8s.io" => &[
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
        "storagemigration.k8s.io" => &["storageversionmigrations"],
        _ => &[],
    }
}

fn answered(api_group: &str) -> &'static [&'static str] {
    match api_group {
        "" => &["bindings", "componentstatuses"],
        "authentication.k8s.io" => &["selfsubjectreviews", "tokenreviews"],
        "authorization.k8s.io" => &[
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        ],
        "metrics.k8s.io" => &["nodes", "pods"],
        _ => &[],
    }
}
