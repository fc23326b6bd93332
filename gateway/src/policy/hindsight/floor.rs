//! The floor, which policies do not change: it says of the same call what it said then.

use super::{Answer, PastCall, Unknown, Verdict};
use crate::request_info::RequestInfo;

/// The one part of it that asks for a rule.
const BY_RULES: &str = "built-in/floor-unnamed-namespace";

/// What the floor makes of what policies would answer.
pub(super) fn after(call: &PastCall, verdict: Verdict) -> Result<Verdict, Unknown> {
    let was = &call.then.verdict;
    if verdict.answer == Answer::Deny || was.answer != Answer::Deny {
        return Ok(verdict);
    }
    match was.rule.strip_prefix("built-in/") {
        Some(_) if was.rule == BY_RULES => {}
        Some(name) if name.starts_with("floor-") || name == "write-back" => return Ok(was.clone()),
        Some(_) => return Err(Unknown::Gateway(was.rule.clone())),
        None => {}
    }
    match judges_body(&call.request) {
        true => Err(Unknown::Body),
        false => Ok(verdict),
    }
}

/// Whether the floor reads what is written: where policy had denied the call, it had no need to.
fn judges_body(request: &RequestInfo) -> bool {
    let writes = matches!(request.verb.as_str(), "create" | "patch" | "update");
    let read = matches!(
        (
            request.api_group.as_str(),
            request.resource.as_str(),
            request.subresource.as_str()
        ),
        ("", "secrets", _)
            | ("", "serviceaccounts", "token")
            | ("apiextensions.k8s.io", "customresourcedefinitions", _)
            | ("apiregistration.k8s.io", "apiservices", _)
            | ("certificates.k8s.io", "certificatesigningrequests", _)
    );
    writes && read
}
