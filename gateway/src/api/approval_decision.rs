//! An approval as a gateway has used it for one call, and what that call is. Whether the one permits the other is
//! judged by policy.

use super::v1alpha1::approval_request::ApprovalRequest;

/// A request for approval, read back after a use of it was written.
#[derive(Clone, Debug)]
pub struct ApprovalDecision {
    pub request: ApprovalRequest,
}

/// A call that wants to pass because of an approval.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// `sha256:<hex>` of the canonical call.
    pub digest: String,
    /// As the API server sees the caller.
    pub upstream_user: String,
    /// Of the call's target; empty where it has none.
    pub namespace: String,
    /// kubectl's id of one command, as the caller gave it.
    pub command: Option<String>,
    /// Only where a CI run or a pod names it.
    pub session: Option<String>,
    /// Of the call, so each is another.
    pub audit_id: String,
}
