//! What a request has come to, for people's eyes.

use jiff::Timestamp;

use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, ApprovalRequestStatus, State, most_uses},
    policy::{Standing, standing},
};

/// By the lists of the object and by the clock; what `status.state` says counts for nothing.
pub fn state(request: &ApprovalRequest, now: Timestamp) -> State {
    let empty = ApprovalRequestStatus::default();
    let status = request.status.as_ref().unwrap_or(&empty);
    let spec = &request.spec;
    let expired = now >= spec.expires_at;
    match standing(&status.votes, &spec.requester, &spec.terms) {
        Standing::Denied { .. } => State::Denied,
        Standing::Approved { scope, .. } => match status.uses.len() {
            uses if uses >= most_uses(scope) || uses > 0 && expired => State::Used,
            _ if expired => State::Expired,
            _ if status.withdrawn_at.is_some() => State::Withdrawn,
            _ => State::Approved,
        },
        Standing::Open { .. } if status.withdrawn_at.is_some() => State::Withdrawn,
        Standing::Open { .. } if expired => State::Expired,
        Standing::Open { .. } => State::Pending,
    }
}
