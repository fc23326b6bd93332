//! Where something may run that is no agent to the gateway: nobody sees what it does, so a rule for every namespace is
//! not enough.

use super::denial;
use crate::{
    identity::Attributes,
    policy::{Denial, pods, resources, rule::Rule},
    request_info::RequestInfo,
};

/// Whether a rule must name the namespace, or `""` for what is in none.
pub(in crate::policy) fn must_be_named(attributes: &Attributes<'_>) -> bool {
    let request = attributes.request;
    request.is_resource_request && !attributes.namespace_is_agents && runs_something(request)
}

pub(in crate::policy) fn names(rule: &Rule, attributes: &Attributes<'_>) -> bool {
    rule.names_namespace(&attributes.request.namespace)
}

/// Pods, what makes pods, what may make pods for all we know, and the ways into pods that run.
fn runs_something(request: &RequestInfo) -> bool {
    let (group, resource) = (request.api_group.as_str(), request.resource.as_str());
    // A kubelet's proxy runs commands in any pod of its node.
    if request.is_connect() {
        return true;
    }
    let changes = matches!(request.verb.as_str(), "create" | "patch" | "update");
    let makes_pods = pods::makes_pods(group, resource)
        && matches!(
            request.subresource.as_str(),
            "" | "binding" | "ephemeralcontainers" | "resize"
        );
    let binds = group.is_empty() && resource == "bindings";
    changes && (makes_pods || binds || resources::is_unknown(request))
}

pub(in crate::policy) fn unnamed(request: &RequestInfo) -> Denial {
    let reason = match request.namespace.as_str() {
        "" => "the gateway does not see what this may run, in whichever namespace: only a rule whose namespaces have \"\", not \"*\", allows it"
            .to_owned(),
        namespace => format!(
            "the gateway does not see what runs in the namespace {namespace:?}, which is no agents' namespace: only a rule whose namespaces name it, not \"*\", allows this"
        ),
    };
    denial(
        "floor-unnamed-namespace",
        &reason,
        "Work in an agents' namespace, or ask whoever owns the policies for a rule that names this one.",
    )
}
