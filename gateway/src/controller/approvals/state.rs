//! What has become of a request, for people's eyes. Gateways judge by the lists themselves.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::{
    agent_policy::Scope,
    approval_request::{ApprovalRequest, State, Verdict, Vote},
};

/// No rule gives a request longer, so a gateway whose clock is wrong does not either.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// By our own clock, as a gateway does by its own: when somebody says to have voted does not matter.
pub(in crate::controller) fn state(request: &ApprovalRequest, now: Timestamp) -> State {
    let status = request.status.clone().unwrap_or_default();
    let approvals: Vec<&Vote> = approvals(&status.votes).collect();
    let people: BTreeSet<&str> = approvals.iter().map(|vote| vote.by.as_str()).collect();
    let needed = usize::from(request.spec.terms.people.max(1));
    let is_for_one = approvals.iter().any(|vote| vote.scope == Scope::Once);
    let is_used = !status.uses.is_empty();
    let is_over = now >= ends(request);
    if is_denied(&status.votes) {
        State::Denied
    } else if is_used && (is_for_one || is_over) {
        State::Used
    } else if status.withdrawn_at.is_some() && !is_used && people.len() < needed {
        State::Withdrawn
    } else if is_over {
        State::Expired
    } else if people.len() >= needed {
        State::Approved
    } else {
        State::Pending
    }
}

fn is_denied(votes: &[Vote]) -> bool {
    votes.iter().any(|vote| vote.result == Verdict::Denied)
}

fn approvals(votes: &[Vote]) -> impl Iterator<Item = &Vote> {
    votes.iter().filter(|vote| vote.result == Verdict::Approved)
}

/// When nothing can become of it any more.
pub(in crate::controller) fn ends(request: &ApprovalRequest) -> Timestamp {
    let said = request.spec.expires_at;
    let made = request.metadata.creation_timestamp.as_ref();
    made.map_or(said, |made| {
        said.min(made.0.saturating_add(LONGEST).unwrap_or(said))
    })
}

#[cfg(test)]
mod tests;
