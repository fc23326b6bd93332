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
        let reason = "agents cannot change Sallyport's own objects";
        return Err(denial(
            "floor-own-objects",
            reason,
            "A person changes them, without going through the gateway.",
        ));
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
            request.name.ends_with(".sallyport.dev") || request.verb == "deletecollection"
        }
        _ => false,
    };
    defines || request.api_group == OWN_GROUP
}

fn denial(rule: &str, reason: &str, hint: &str) -> Denial {
    Denial {
        rule: format!("built-in/{rule}"),
        reason: reason.into(),
        hint: hint.into(),
    }
}
