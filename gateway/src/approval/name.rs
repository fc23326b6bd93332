//! Names of requests: the same for the same call on every gateway, so that two that ask at once find each other.

use crate::api::v1alpha1::approval_request::ApprovalRequestSpec;

const DIGITS: usize = 10;
const MOST: usize = 40;

/// Of the `n`th request for this call, as in `patch-deployments-3f9a2c1b7e-2`.
pub(super) fn of(spec: &ApprovalRequestSpec, n: usize) -> String {
    let digest = spec.digest.strip_prefix("sha256:").unwrap_or_default();
    let digits: String = digest.chars().take(DIGITS).collect();
    let what = match spec.call.resource.as_str() {
        "" => spec.call.verb.clone(),
        resource => format!("{}-{resource}", spec.call.verb),
    };
    let again = if n > 1 {
        format!("-{n}")
    } else {
        String::new()
    };
    format!("{}-{digits}{again}", label(&what))
}

/// What the name of an object may hold.
fn label(text: &str) -> String {
    let lower = text.chars().map(|c| c.to_ascii_lowercase());
    let label: String = lower
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MOST)
        .collect();
    match label.trim_matches('-') {
        "" => "call".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn a_label_is_what_an_object_may_be_called() {
        assert_eq!(label("patch-Deployments"), "patch-deployments");
        assert_eq!(label("-/-"), "call");
        assert_eq!(label("\u{e9}t\u{e9}"), "t");
    }
}
