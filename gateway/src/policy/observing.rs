//! Policies that are only observed: what they deny or leave to people passes, and is said of the call.
//!
//! Their effect alone is lowered. What the floor protects, it protects here too, and of every rule that may concern the
//! call its view, its bounds and its record level count.

use super::{
    Decision, Denial, Facts, Obligations, Permit, PolicySet, Terms, Undecided,
    expression::Scope,
    floor::{self, objects},
    permit::Unenforced,
};
use crate::{audit::record::DecisionKind, identity::Attributes};

impl PolicySet {
    /// What must be learned before it is known whether the floor protects something from the call, whatever policies
    /// say.
    pub fn protecting(&self, attributes: &Attributes<'_>, facts: &Facts) -> Option<Undecided> {
        let wants = objects::wants(&Scope::new(attributes, facts));
        let undecided = || Undecided::new(attributes, wants, self.shared_digest());
        (wants.any() && floor::check(attributes).is_ok()).then(undecided)
    }

    /// Lets pass what was decided otherwise. The denial is one of what is protected also here.
    pub fn observe(
        &self,
        decision: Decision,
        attributes: &Attributes<'_>,
        facts: &Facts,
    ) -> Result<Permit, Denial> {
        let (rule, unenforced) = match decision {
            Decision::Allow(permit) => return Ok(permit),
            Decision::Hold(pending) => (pending.rule().to_owned(), held(pending.terms())),
            Decision::Deny(denial) => {
                let reason = denial.reason;
                let decision = DecisionKind::Deny;
                (denial.rule, Unenforced { decision, reason })
            }
        };
        let scope = Scope::new(attributes, facts);
        floor::protect(&scope)?;
        let obligations = self.possible_obligations(&scope);
        let digest = self.shared_digest();
        Ok(Permit::unenforced(
            rule,
            digest,
            obligations,
            scope.risk(),
            unenforced,
        ))
    }

    /// What observed policies bind the gateway to, where they would be asked about this.
    pub fn observed_obligations(&self, attributes: &Attributes<'_>) -> Obligations {
        self.possible_obligations(&Scope::new(attributes, &Facts::default()))
    }

    /// Of every rule that selects the call or a part of it, also where its expressions cannot be evaluated: nothing is
    /// shown for want of an answer.
    fn possible_obligations(&self, scope: &Scope<'_>) -> Obligations {
        let attributes = scope.attributes();
        let mut obligations = Obligations::default();
        let rules = self.candidates(attributes.identity, attributes.request);
        for rule in rules.filter(|rule| !rule.is_audited) {
            if rule.may_match(scope) {
                obligations.tighten(rule);
            } else if rule.may_restrict(scope) {
                obligations.tighten_silently(rule);
            }
        }
        obligations
    }
}

fn held(terms: &Terms) -> Unenforced {
    Unenforced {
        decision: DecisionKind::Hold,
        reason: match &terms.reasons[..] {
            [] => "the rule requires approval".to_owned(),
            reasons => reasons.join("; "),
        },
    }
}
