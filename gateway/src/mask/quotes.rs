//! What the API server quotes of an object when it refuses it.

use std::borrow::Cow;

use super::{key::Key, rule::Rule};
use crate::request_info::RequestInfo;

/// Behind each of these stands a value, or the whole specification.
const MARKERS: [&str; 4] = [
    "Invalid value:",
    "Unsupported value:",
    "Duplicate value:",
    "Forbidden:",
];

/// Resources whose objects have environment variables.
const WITH_ENVIRONMENT: [&str; 9] = [
    "cronjobs",
    "daemonsets",
    "deployments",
    "jobs",
    "pods",
    "podtemplates",
    "replicasets",
    "replicationcontrollers",
    "statefulsets",
];

/// A refusal's message without the values in it, where it is about an object that may have environment variables or
/// fields that somebody called sensitive.
pub fn unquoted(key: &Key, request: &RequestInfo, message: &str) -> String {
    match has_environment(request) || key.fields(&Rule::select(request)).is_some() {
        true => without_quotes(message).into_owned(),
        false => message.to_owned(),
    }
}

/// Whether such objects are hidden, as Secrets are, or have fields that somebody called sensitive.
pub fn hides(key: &Key, request: &RequestInfo) -> bool {
    let rule = Rule::select(request);
    rule.hides_all() || key.fields(&rule).is_some()
}

pub(super) fn has_environment(request: &RequestInfo) -> bool {
    WITH_ENVIRONMENT.contains(&&*request.resource)
}

/// Where a value ends cannot be told, so all that follows is left out.
pub(super) fn without_quotes(message: &str) -> Cow<'_, str> {
    let ends = |marker: &str| message.find(marker).map(|at| at + marker.len());
    match MARKERS.into_iter().filter_map(ends).min() {
        Some(end) => Cow::Owned(format!("{} withheld", &message[..end])),
        None => Cow::Borrowed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_behind_the_first_marker_is_left_out() {
        for (message, expected) in [
            ("pods \"p\" not found", "pods \"p\" not found"),
            (
                "spec: Forbidden: may not change {A: x, Invalid value: y}",
                "spec: Forbidden: withheld",
            ),
            (
                "[spec.a: Invalid value: \"x\": no, spec.b: Required value]",
                "[spec.a: Invalid value: withheld",
            ),
        ] {
            assert_eq!(without_quotes(message), expected);
        }
    }
}
