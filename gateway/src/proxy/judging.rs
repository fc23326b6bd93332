//! May this call pass? Policy, and what no policy can allow.

use std::sync::Arc;

use super::{
    Call, Gateway, arrival::Arrival, body_floor, content_type, headers, recording::Recording,
    rejection::Rejection, request_body::RequestBody, token_request,
};
use crate::{
    policy::{Decision, Denial, PendingPermit, Permit},
    request_info::RequestInfo,
};

/// What was not denied.
pub(super) enum Judged {
    Allowed(Permit),
    /// People decide.
    Held(PendingPermit),
}

impl Gateway {
    /// Policy and what no policy can allow.
    pub(super) async fn judge(
        &self,
        call: &Call<'_>,
        recording: &mut Recording,
    ) -> Result<Judged, Rejection> {
        let &Call {
            arrival,
            attributes,
            body,
            ..
        } = call;
        if let Some(header) = headers::impersonation(&arrival.headers) {
            return Err(Rejection::Impersonation {
                header: header.to_string(),
            });
        }
        let policies = Arc::clone(&self.policies.borrow());
        let decision = match policies.evaluate(attributes) {
            Decision::Deny(denial) => Decision::Deny(denial),
            passing => match beyond_policy(arrival, attributes.request, body) {
                Ok(()) => passing,
                Err(denial) => Decision::Deny(denial),
            },
        };
        match decision {
            Decision::Allow(permit) => {
                recording.allowed(&permit);
                Ok(Judged::Allowed(permit))
            }
            Decision::Hold(pending) => Ok(Judged::Held(pending)),
            Decision::Deny(denial) => {
                recording.judged_by(policies.digest());
                recording.denied(&denial);
                Err(Rejection::Denied(denial.message(attributes)))
            }
        }
    }
}

/// What no policy can allow, where only the body shows it.
fn beyond_policy(arrival: &Arrival, info: &RequestInfo, body: &RequestBody) -> Result<(), Denial> {
    let content_type = content_type(arrival);
    if token_request::mints_token(info) {
        token_request::check(content_type, &body.bytes)?;
    }
    body_floor::check(info, content_type, &body.bytes)
}
