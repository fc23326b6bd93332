//! What no policy can allow.

use super::Denial;
use crate::{AUDIENCE, identity::Attributes, request_info::RequestInfo};

const OWN_GROUP: &str = "sallyport.dev";

/// Judges what the request line alone shows.
pub(super) fn check(attributes: &Attributes<'_>) -> Result<(), Denial> {
    let request = attributes.request;
    if request.verb.is_empty() {
        return Err(denial(
            "floor-verb",
            "the method has no verb for this resource",
            "Use a method of the Kubernetes API.",
        ));
    }
    if !request.is_read_only() && is_own_object(request) {
        return Err(own_objects());
    }
    Ok(())
}

/// Judges a TokenRequest (`create` of `serviceaccounts/token`) by the audiences in its body. Without
/// audiences the token would be for the API server itself, and the gateway could be gone around.
pub fn token_request(audiences: &[String]) -> Result<(), Denial> {
    if !audiences.is_empty() && audiences.iter().all(|audience| audience == AUDIENCE) {
        return Ok(());
    }
    Err(denial(
        "floor-token-audience",
        "the token could be used on the API server directly",
        "Request a token whose only audience is \"sallyport\".",
    ))
}

/// Objects of our API group, and the definitions that make them objects.
fn is_own_object(request: &RequestInfo) -> bool {
    let defines = match (request.api_group.as_str(), request.resource.as_str()) {
        ("apiextensions.k8s.io", "customresourcedefinitions")
        | ("apiregistration.k8s.io", "apiservices") => {
            defines_own(&request.name) || request.verb == "deletecollection"
        }
        _ => false,
    };
    defines || request.api_group == OWN_GROUP
}

/// Whether a CustomResourceDefinition or APIService of this name serves our group, or one below it.
pub fn defines_own(name: &str) -> bool {
    name.strip_suffix(OWN_GROUP)
        .is_some_and(|before| before.ends_with('.'))
}

pub fn is_own(api_group: &str) -> bool {
    api_group == OWN_GROUP || defines_own(api_group)
}

pub fn own_objects() -> Denial {
    denial(
        "floor-own-objects",
        "agents cannot change Sallyport's own objects",
        "A person changes them, without going through the gateway.",
    )
}

pub fn token_secret() -> Denial {
    denial(
        "floor-token-secret",
        "a Secret of type kubernetes.io/service-account-token is given a token for the API server itself",
        "Use another type, or request a token whose only audience is \"sallyport\".",
    )
}

/// A JSON Patch of a Secret whose operation at `index`, counted from 0, reads what is hidden.
pub fn json_patch(index: usize) -> Denial {
    let reason = format!(
        "operation {index} of the JSON Patch (counted from 0) would read or compare values that are hidden"
    );
    denial(
        "floor-json-patch",
        &reason,
        "Use add, replace and remove, or a merge patch.",
    )
}

pub fn signer(name: &str) -> Denial {
    let reason = format!("a certificate of signer {name:?} is a credential of the cluster itself");
    denial("floor-signer", &reason, "Use a signer of your own.")
}

/// A body that decides whether the call may pass, and that cannot be read as the API server will read it.
pub fn unreadable(resource: &str) -> Denial {
    let reason =
        format!("the gateway must read what is written to {resource} and cannot read this body");
    denial(
        "floor-unreadable-body",
        &reason,
        "Send JSON with each field given once, also in a server-side apply.",
    )
}

fn denial(rule: &str, reason: &str, hint: &str) -> Denial {
    Denial {
        rule: format!("built-in/{rule}"),
        reason: reason.into(),
        hint: hint.into(),
    }
}
