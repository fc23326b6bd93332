//! Requests that create under another verb.
//!
//! A server-side apply creates an object that is missing, whatever its kind. A `PUT` does so for the
//! resources that [`created_by_update`] lists. Kubernetes' own authorizer is asked for `create` only once
//! the object turns out to be missing, which the gateway cannot know.

use crate::{identity::Attributes, request_info::RequestInfo};

/// A creation that a request may turn out to be.
pub(super) struct Creation {
    /// As a `create` of the object in the URL.
    pub(super) request: RequestInfo,
    /// Whether a rule must allow it; otherwise it is enough that none denies it.
    pub(super) needs_allow: bool,
}

impl Creation {
    /// An apply must be allowed as a creation. An update need not: it is how such objects are changed
    /// every day, and where it creates after all, the API server asks its own authorizer for `create`.
    pub(super) fn all_of(attributes: &Attributes<'_>) -> Vec<Self> {
        let request = attributes.request;
        let by_update = created_by_update(request);
        if !(attributes.applies || by_update && request.verb == "update") {
            return Vec::new();
        }
        let mut all = vec![Self {
            request: create(request, &request.subresource),
            needs_allow: attributes.applies,
        }];
        // The status of a Service is stored by the Service's own strategy, which creates the Service.
        if by_update && request.subresource == "status" {
            all.push(Self {
                request: create(request, ""),
                needs_allow: false,
            });
        }
        all
    }
}

fn create(request: &RequestInfo, subresource: &str) -> RequestInfo {
    RequestInfo {
        verb: "create".to_owned(),
        subresource: subresource.to_owned(),
        ..request.clone()
    }
}

/// The resources of Kubernetes 1.30 to 1.37 whose strategy says `AllowCreateOnUpdate`. Custom resources
/// never do; what an aggregated API server does is its own affair.
fn created_by_update(request: &RequestInfo) -> bool {
    let known: &[&str] = match request.api_group.as_str() {
        "" => &["endpoints", "events", "limitranges", "services"],
        "coordination.k8s.io" => &["leasecandidates", "leases"],
        "events.k8s.io" => &["events"],
        "node.k8s.io" => &["runtimeclasses"],
        "rbac.authorization.k8s.io" => &[
            "clusterrolebindings",
            "clusterroles",
            "rolebindings",
            "roles",
        ],
        _ => &[],
    };
    known.contains(&request.resource.as_str())
        && matches!(request.subresource.as_str(), "" | "status")
}
