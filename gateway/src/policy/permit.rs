//! The proof that a call may go upstream. [`Permit`] has no other makers than [`decide`], [`PendingPermit::approve`],
//! [`behind_glass`] and [`Permit::unenforced`].

use std::sync::Arc;

use jiff::Timestamp;

pub use self::approval::{NotApproved, usable};
use super::{
    Denial, Glass, expression::Scope, lifting::Lifted, obligations::Obligations, rule::Rule,
    terms::Terms,
};
use crate::{
    api::{
        approval_decision::{ApprovalDecision, Claim},
        v1alpha1::{
            agent_policy::{Effect, RecordLevel},
            approval_request::{self, Risk},
        },
    },
    audit::record::DecisionKind,
};

mod approval;

/// The right to forward one call. It cannot be copied, and sending consumes it.
#[derive(Debug)]
#[must_use = "a permit that is not consumed by a forward permits nothing"]
pub struct Permit {
    rule: Arc<str>,
    policy_digest: Arc<str>,
    obligations: Obligations,
    risk: Risk,
    /// The name of the BreakGlass but for which the call would not pass.
    glass: Option<Arc<str>>,
    unenforced: Option<Unenforced>,
    is_approved: bool,
}

/// What becomes of a call where policies count, of one that passes because they are only observed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unenforced {
    pub decision: DecisionKind,
    pub reason: String,
}

/// What a rule of a policy in `mode: Audit` would have done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audited {
    /// `<policy>/<rule>`.
    pub rule: Arc<str>,
    pub effect: Effect,
}

impl Audited {
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            rule: Arc::clone(&rule.id),
            effect: rule.effect,
        }
    }
}

impl Permit {
    /// For a call that policies deny or leave to people, and that passes because they are only observed.
    pub(super) fn unenforced(
        rule: String,
        policy_digest: &Arc<str>,
        obligations: Obligations,
        risk: Risk,
        unenforced: Unenforced,
    ) -> Self {
        Self {
            rule: rule.into(),
            policy_digest: Arc::clone(policy_digest),
            obligations,
            risk,
            glass: None,
            unenforced: Some(unenforced),
            is_approved: false,
        }
    }

    /// What policies would have made of the call, where they did not count.
    pub fn would_be(&self) -> Option<&Unenforced> {
        self.unenforced.as_ref()
    }

    /// The rule that allowed the call, or would not have: `<policy>/<rule>`, or a built-in rule's name.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The digest of the policies that were in force.
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }

    /// What forwarding it binds the gateway to.
    pub fn obligations(&self) -> &Obligations {
        &self.obligations
    }

    /// What it binds the gateway to beside, by policies that came into force since.
    pub fn under(mut self, now: &Obligations) -> Self {
        self.obligations.join(now);
        self
    }

    pub fn risk(&self) -> &Risk {
        &self.risk
    }

    /// Whether people were asked about this call, and approved it.
    pub fn is_approved(&self) -> bool {
        self.is_approved
    }

    /// The name of the BreakGlass but for which the call would not pass.
    pub fn glass(&self) -> Option<&str> {
        self.glass.as_deref()
    }
}

/// What becomes a [`Permit`] once people have approved the call.
#[derive(Debug)]
#[must_use = "a call that waits for a decision is not allowed yet"]
pub struct PendingPermit {
    permit: Permit,
    /// All that ask for approval, in order of id.
    rules: Vec<String>,
    terms: Terms,
}

impl PendingPermit {
    /// The rule that asks for approval, the first by id where there are several.
    pub fn rule(&self) -> &str {
        &self.permit.rule
    }

    /// Every rule that asks for approval.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    pub fn policy_digest(&self) -> &str {
        &self.permit.policy_digest
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Who decides and how, as a request for approval says it.
    pub fn asked_terms(&self) -> approval_request::Terms {
        self.terms.asked()
    }

    pub fn risk(&self) -> &Risk {
        &self.permit.risk
    }

    /// What forwarding it will bind the gateway to.
    pub fn obligations(&self) -> &Obligations {
        &self.permit.obligations
    }

    /// Whether people have approved this call, now, and nothing else has used up what they approved.
    ///
    /// Nothing of the decision is taken on trust but that it was read from the API server: the votes are counted
    /// again, under the terms of the rules as they are now.
    pub fn approve(
        self,
        decision: &ApprovalDecision,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Permit, NotApproved> {
        approval::check(&self, &decision.request, claim, now)?;
        Ok(Permit {
            is_approved: true,
            ..self.permit
        })
    }
}

#[derive(Debug)]
#[must_use]
pub enum Decision {
    Allow(Permit),
    Hold(PendingPermit),
    Deny(Denial),
}

/// A rule that matches, and why its expression could not be evaluated where it could not.
#[derive(Debug)]
pub(super) struct Hit<'r> {
    pub(super) rule: &'r Rule,
    pub(super) problem: Option<String>,
}

/// Settles on the strictest effect among the rules that match: `Deny`, `RequireApproval`, `Allow`.
/// `obligations` are of rules that may concern the call beside.
pub(super) fn decide(
    hits: &[Hit<'_>],
    mut obligations: Obligations,
    scope: &Scope<'_>,
    policy_digest: &Arc<str>,
) -> Decision {
    let (mut allowing, mut asking) = (None, Vec::new());
    let mut terms = Terms::default();
    for Hit { rule, problem } in hits {
        match rule.effect {
            Effect::Deny => {
                let request = scope.attributes().request;
                return Decision::Deny(Denial::by_rule(rule, request, problem.as_deref()));
            }
            Effect::Allow => allowing = allowing.or(Some(rule)),
            Effect::RequireApproval => {
                asking.push(*rule);
                terms.tighten(rule, problem.as_deref());
            }
        }
        obligations.tighten(rule);
    }
    let permit = |rule: &Rule, obligations| Permit {
        rule: Arc::clone(&rule.id),
        policy_digest: Arc::clone(policy_digest),
        obligations,
        risk: scope.risk(),
        glass: None,
        unenforced: None,
        is_approved: false,
    };
    match (asking.first(), allowing) {
        (Some(rule), _) => {
            let permit = permit(rule, obligations);
            terms.restrict_to(permit.risk.level);
            let mut rules: Vec<_> = asking.iter().map(|rule| rule.id.to_string()).collect();
            rules.sort_unstable();
            rules.dedup();
            Decision::Hold(PendingPermit {
                permit,
                rules,
                terms,
            })
        }
        (None, Some(rule)) => Decision::Allow(permit(rule, obligations)),
        (None, None) => Decision::Deny(Denial::by_default()),
    }
}

/// Lets pass what policies do not, on the word of the two people who broke the glass. The caller is told, and everything
/// is recorded.
pub(super) fn behind_glass(
    glass: &Glass,
    Lifted(otherwise): &Lifted,
    mut obligations: Obligations,
    mut risk: Risk,
    policy_digest: &Arc<str>,
) -> Permit {
    obligations.record = Some(RecordLevel::RequestResponse);
    let until = glass
        .ends_at()
        .map_or_else(String::new, |until| format!(" until {until:.0}"));
    let name = &glass.name;
    obligations.warnings.push(format!(
        "allowed by BreakGlass {name:?}{until}, although {otherwise}"
    ));
    risk.reasons
        .push(format!("passes by BreakGlass {name:?} alone: {otherwise}"));
    Permit {
        rule: glass.rule().into(),
        policy_digest: Arc::clone(policy_digest),
        obligations,
        risk,
        glass: Some(name.as_str().into()),
        unenforced: None,
        is_approved: false,
    }
}
