//! Which namespaces a request touches.

use crate::{api::names::GROUP, request_info::RequestInfo};

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
pub(super) fn is_cluster_scoped(api_group: &str, resource: &str) -> bool {
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
        GROUP => &[
            "agentpolicies",
            "agents",
            "agentstops",
            "breakglasses",
            "nodecoverages",
        ],
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_cluster_scoped_kind_of_ours_is_known() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let mut scopes = Vec::new();
        for file in fs::read_dir(directory).expect("the definitions") {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            let definition: Value = serde_saphyr::from_str(&text).expect("YAML");
            let spec = &definition["spec"];
            let group = spec["group"].as_str().expect("a group");
            let plural = spec["names"]["plural"].as_str().expect("a plural");
            let is_cluster = spec["scope"] == "Cluster";
            assert_eq!(is_cluster_scoped(group, plural), is_cluster, "{plural}");
            scopes.push(is_cluster);
        }
        assert!(scopes.contains(&true) && scopes.contains(&false));
    }
}
