//! Whether an approval that was used for a call permits it.

use jiff::{SignedDuration, Timestamp};

use super::PendingPermit;
use crate::{
    api::{
        approval_decision::Claim,
        v1alpha1::{
            agent_policy::Scope,
            approval_request::{
                ApprovalRequest, ApprovalRequestSpec, RiskLevel, Terms, Use, most_uses,
            },
        },
    },
    policy::votes::{Standing, standing},
};

/// From the first call of a kubectl command to the last that is approved with it.
pub(in crate::policy) const COMMAND: SignedDuration = SignedDuration::from_secs(120);

/// Why a call does not pass, although people were asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotApproved {
    #[error("it was not approved yet: {approved} of {people} people have approved")]
    Open { approved: usize, people: u8 },
    #[error("{by} denied it")]
    Denied { by: String, reason: Option<String> },
    #[error("the request for approval expired")]
    Expired,
    #[error("the request for approval was withdrawn, because nobody waited for it any more")]
    Withdrawn,
    #[error("another call was approved, not this one")]
    OtherCall,
    #[error("the approval was used by another call")]
    UsedUp,
    #[error("this gateway did not mark the approval as used")]
    NotMarked,
    #[error("the policies now ask for groups of approvers that were not asked for then")]
    StricterTerms,
}

/// What the policies ask of a call as they are now.
struct Asked<'a> {
    terms: &'a Terms,
    rules: &'a [String],
    policy_digest: &'a str,
    level: RiskLevel,
}

pub(super) fn check(
    pending: &PendingPermit,
    request: &ApprovalRequest,
    claim: &Claim,
    now: Timestamp,
) -> Result<(), NotApproved> {
    let terms = pending.asked_terms();
    let asked = Asked {
        terms: &terms,
        rules: pending.rules(),
        policy_digest: pending.policy_digest(),
        level: pending.risk().level,
    };
    let scope = approved(request, &terms, now)?;
    check_groups(&request.spec, &terms)?;
    let uses = uses(request);
    let mut marked = (0..).zip(uses);
    let ours = marked.find(|(_, one)| one.audit_id == claim.audit_id);
    let (earlier, _) = ours.ok_or(NotApproved::NotMarked)?;
    covers(&request.spec, scope, &asked, claim)?;
    has_room(scope, &uses[..earlier], now)
}

/// Whether a new use by this call would be accepted, and for which scope. `spec` is what people would be asked of it
/// now.
pub fn usable(
    request: &ApprovalRequest,
    spec: &ApprovalRequestSpec,
    claim: &Claim,
    now: Timestamp,
) -> Result<Scope, NotApproved> {
    let asked = Asked {
        terms: &spec.terms,
        rules: &spec.rules,
        policy_digest: &spec.policy_digest,
        level: spec.risk.level,
    };
    let scope = approved(request, asked.terms, now)?;
    check_groups(&request.spec, asked.terms)?;
    covers(&request.spec, scope, &asked, claim)?;
    has_room(scope, uses(request), now)?;
    Ok(scope)
}

fn approved(
    request: &ApprovalRequest,
    terms: &Terms,
    now: Timestamp,
) -> Result<Scope, NotApproved> {
    let status = request.status.as_ref();
    let votes = status.map_or(&[][..], |status| &status.votes);
    match standing(votes, &request.spec.requester, terms) {
        Standing::Denied { by, reason } => Err(NotApproved::Denied { by, reason }),
        _ if now.max(written_at(request)) >= request.spec.expires_at => Err(NotApproved::Expired),
        _ if status.is_some_and(|status| status.withdrawn_at.is_some()) => {
            Err(NotApproved::Withdrawn)
        }
        Standing::Open { approved } => Err(NotApproved::Open {
            approved,
            people: terms.people.max(1),
        }),
        Standing::Approved { scope, .. } => Ok(scope),
    }
}

/// By the API server's clock, which dates each write, the mark of a use among them: this gateway's may be behind.
fn written_at(request: &ApprovalRequest) -> Timestamp {
    let entries = request.metadata.managed_fields.iter().flatten();
    let times = entries.filter_map(|entry| entry.time.as_ref());
    times.map(|time| time.0).max().unwrap_or(Timestamp::MIN)
}

fn uses(request: &ApprovalRequest) -> &[Use] {
    request
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.uses)
}

/// Voters' groups were seen by admission, which knows those that the request names and no others.
fn check_groups(spec: &ApprovalRequestSpec, terms: &Terms) -> Result<(), NotApproved> {
    let asked = |list: &Vec<String>| {
        let narrower =
            |asked: &Vec<String>| !asked.is_empty() && asked.iter().all(|one| list.contains(one));
        spec.terms.groups.iter().any(narrower)
    };
    match terms.groups.iter().all(asked) {
        true => Ok(()),
        false => Err(NotApproved::StricterTerms),
    }
}

/// Whether what was approved for one call is approved for this one.
fn covers(
    spec: &ApprovalRequestSpec,
    scope: Scope,
    asked: &Asked<'_>,
    claim: &Claim,
) -> Result<(), NotApproved> {
    let requester = &spec.requester;
    let same_caller = requester.upstream_user == claim.upstream_user;
    let same = |asked: &Option<String>, now: &Option<String>| asked.is_some() && asked == now;
    let covered = spec.digest == claim.digest
        && (scope == Scope::Once || is_no_riskier(spec, asked))
        || is_by_the_same_rules(spec, asked)
            && is_no_riskier(spec, asked)
            && match scope {
                Scope::Once | Scope::SameRequest => false,
                Scope::Command => {
                    spec.call.namespace == claim.namespace
                        && same(&requester.command, &claim.command)
                }
                Scope::Session => same(&requester.session, &claim.session),
            };
    match same_caller && covered {
        true => Ok(()),
        false => Err(NotApproved::OtherCall),
    }
}

/// Whether people were asked on behalf of every rule that asks now, and the rules are those of then.
fn is_by_the_same_rules(spec: &ApprovalRequestSpec, asked: &Asked<'_>) -> bool {
    let was_asked_for = |rule: &String| *rule == spec.rule || spec.rules.contains(rule);
    !asked.rules.is_empty()
        && asked.rules.iter().all(was_asked_for)
        && asked.policy_digest == spec.policy_digest
}

/// People who approved more than one call have seen the risk of one.
fn is_no_riskier(spec: &ApprovalRequestSpec, asked: &Asked<'_>) -> bool {
    asked.level <= spec.risk.level
}

fn has_room(scope: Scope, earlier: &[Use], now: Timestamp) -> Result<(), NotApproved> {
    let began = earlier.first().map(|first| first.at);
    // Another gateway's clock may have dated the first.
    let is_soon = |began| now.duration_since(began).abs() <= COMMAND;
    let in_time = scope != Scope::Command || began.is_none_or(is_soon);
    match earlier.len() < most_uses(scope) && in_time {
        true => Ok(()),
        false => Err(NotApproved::UsedUp),
    }
}

#[cfg(test)]
mod tests;
