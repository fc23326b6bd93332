//! Whether a callback's vote counts. The gateway asks the same again before it forwards anything.

use jiff::Timestamp;

use super::ballot::Ballot;
use crate::{
    api::v1alpha1::{
        agent_policy::{Channel, Scope},
        approval_request::{ApprovalRequest, RiskLevel, State, Verdict},
    },
    approval::state,
    policy::requested,
    telemetry::causes,
};

/// Why a vote was not written, for the person whose it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("that request is gone: it was deleted, or another has taken its name")]
    Gone,
    #[error("that request is closed: {0}")]
    Closed(&'static str),
    #[error(
        "the request is of critical risk, which is not decided in a chat: use `sallyport approvals`"
    )]
    Critical,
    #[error("its rule takes no decision from a chat: use `sallyport approvals`")]
    OtherChannel,
    #[error("{0} asks for this, or is behind who asks, and nobody decides on their own call")]
    OwnCall(String),
    #[error("{by} has {} it already; a vote is final", voted(*.verdict))]
    HasVoted { by: String, verdict: Verdict },
    #[error("its rule wants who is in one of these groups, and {by} is not: {}", groups.join(", "))]
    NotInGroup { by: String, groups: Vec<String> },
    #[error("its rule gives no approval of scope {0:?}")]
    OtherScope(Scope),
    #[error("others decided at the same time, again and again: look at it and press again")]
    LostRace,
    #[error("this replica of the controller leads no more: press again in a moment")]
    NotLeading,
    #[error("the cluster refused the vote: {0}")]
    Refused(String),
    #[error("the vote could not be written: {}; press again", causes(.0))]
    Unwritten(#[source] kube::Error),
    #[error(
        "the API server did not answer, so the vote may or may not be written: look at the request"
    )]
    TimedOut,
}

impl Refusal {
    /// The label for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Closed(_) => "closed",
            Self::Critical => "critical",
            Self::OtherChannel => "other_channel",
            Self::OwnCall(_) => "own_call",
            Self::HasVoted { .. } => "has_voted",
            Self::NotInGroup { .. } => "not_in_group",
            Self::OtherScope(_) => "other_scope",
            Self::LostRace => "lost_race",
            Self::NotLeading => "not_leading",
            Self::Refused(_) => "refused",
            Self::Unwritten(_) => "unwritten",
            Self::TimedOut => "timed_out",
        }
    }
}

pub(super) fn voted(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Denied => "denied",
    }
}

pub(super) fn check(
    request: &ApprovalRequest,
    ballot: &Ballot,
    now: Timestamp,
) -> Result<(), Refusal> {
    if request.metadata.uid.as_ref() != Some(&ballot.choice.request.uid) {
        return Err(Refusal::Gone);
    }
    check_person(request, ballot)?;
    match state(request, now) {
        State::Pending => {}
        State::Approved => return Err(Refusal::Closed("it is approved already")),
        State::Denied => return Err(Refusal::Closed("it is denied")),
        State::Used => return Err(Refusal::Closed("it was approved, and the call was made")),
        State::Expired => return Err(Refusal::Closed("it has expired")),
        State::Withdrawn => return Err(Refusal::Closed("whoever asked has left")),
    }
    check_terms(request, ballot)
}

fn check_person(request: &ApprovalRequest, ballot: &Ballot) -> Result<(), Refusal> {
    let by = &ballot.decider.username;
    if requested(by, &request.spec.requester) {
        return Err(Refusal::OwnCall(by.clone()));
    }
    let votes = request.status.iter().flat_map(|status| &status.votes);
    match votes.into_iter().find(|vote| vote.by == *by) {
        Some(vote) => Err(Refusal::HasVoted {
            by: by.clone(),
            verdict: vote.result,
        }),
        None => Ok(()),
    }
}

fn check_terms(request: &ApprovalRequest, ballot: &Ballot) -> Result<(), Refusal> {
    let terms = &request.spec.terms;
    if request.spec.risk.level == RiskLevel::Critical {
        return Err(Refusal::Critical);
    }
    if !terms.channels.contains(&Channel::Webhook) {
        return Err(Refusal::OtherChannel);
    }
    let is_in = |group: &String| ballot.decider.groups.contains(group);
    if let Some(groups) = terms.groups.iter().find(|list| !list.iter().any(is_in)) {
        return Err(Refusal::NotInGroup {
            by: ballot.decider.username.clone(),
            groups: groups.clone(),
        });
    }
    let scope = ballot.choice.scope;
    if scope != Scope::Once && !terms.scopes.contains(&scope) {
        return Err(Refusal::OtherScope(scope));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
