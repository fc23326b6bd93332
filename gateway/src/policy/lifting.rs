//! What becomes of a decision where two people have broken the glass for its call.
//!
//! Policies' denials and holds count for nothing then. The floor does, and whatever the rules that match say of how
//! much is shown. A pod is given no Secret but one that policy gives it without a BreakGlass: what runs could print it.

use super::{
    Decision, Denial, Facts, Glass, Judgement, PolicySet, Undecided,
    creation::Creation,
    expression::Scope,
    floor::{self, objects, running},
    judgement::Wants,
    judging::{Facing, Found, get_secret},
    permit,
    rule::Rule,
};
use crate::{
    api::v1alpha1::agent_policy::{AgentView, Effect},
    identity::Attributes,
};

/// What would have been decided, in a sentence's end.
pub(super) struct Lifted(pub(super) String);

impl Lifted {
    /// `None` where there is nothing to lift.
    fn of(decision: &Decision) -> Option<Self> {
        match decision {
            Decision::Allow(_) => None,
            Decision::Hold(pending) => {
                Some(Self(format!("rule {:?} requires approval", pending.rule())))
            }
            Decision::Deny(denial) => Some(Self(format!("rule {:?} denies it", denial.rule))),
        }
    }
}

impl PolicySet {
    /// As [`Self::judge`], where `glass` is open for the call.
    pub fn judge_behind(
        &self,
        glass: Option<&Glass>,
        attributes: &Attributes<'_>,
        facts: &Facts,
    ) -> Judgement {
        match (self.judge(attributes, facts), glass) {
            (Judgement::Decided(decision), Some(glass)) => {
                let scope = Scope::new(attributes, facts);
                self.lift(decision, glass, &scope, Facing::More)
            }
            (judgement, _) => judgement,
        }
    }

    /// As [`Self::conclude`], where `glass` is open for the call.
    pub fn conclude_behind(
        &self,
        glass: Option<&Glass>,
        attributes: &Attributes<'_>,
        facts: &Facts,
    ) -> Decision {
        let decision = self.conclude(attributes, facts);
        let Some(glass) = glass else {
            return decision;
        };
        let scope = Scope::new(attributes, facts);
        match self.lift(decision, glass, &scope, Facing::End) {
            Judgement::Decided(decision) => decision,
            Judgement::Undecided(_) => Decision::Deny(objects::unlearned(attributes.request)),
        }
    }

    fn lift(
        &self,
        decision: Decision,
        glass: &Glass,
        scope: &Scope<'_>,
        facing: Facing,
    ) -> Judgement {
        let Some(lifted) = Lifted::of(&decision) else {
            return Judgement::Decided(decision);
        };
        let decided = match (self.find_whatever_denies(scope, facing), decision) {
            (Ok(found), _) if found.wants.any() => {
                let digest = self.shared_digest();
                let undecided = Undecided::new(scope.attributes(), found.wants, digest);
                return Judgement::Undecided(undecided);
            }
            (Ok(found), _) => Decision::Allow(self.permit_behind(glass, &lifted, &found, scope)),
            // People may still approve what it does not reach.
            (Err(_), Decision::Hold(pending)) => Decision::Hold(pending),
            (Err(denial), _) => Decision::Deny(denial),
        };
        Judgement::Decided(decided)
    }

    /// The floor, and the rules that match or may match, whatever their effect.
    fn find_whatever_denies(&self, scope: &Scope<'_>, facing: Facing) -> Result<Found<'_>, Denial> {
        let attributes = scope.attributes();
        floor::check(attributes)?;
        let mut found = self.matching(scope, facing);
        let naming = naming(&found, attributes)?;
        for creation in Creation::all_of(attributes) {
            let created = Attributes {
                request: &creation.request,
                ..*attributes
            };
            found.join(self.matching(&scope.of(&created), facing));
        }
        // No rule decides any more, so what the others read does not matter.
        found.wants = objects::wants(scope).and(naming);
        if !found.wants.any() {
            floor::check_objects(scope)?;
            self.check_secrets(scope)?;
        } else if facing == Facing::End {
            return Err(objects::unlearned(attributes.request));
        }
        Ok(found)
    }

    fn check_secrets(&self, scope: &Scope<'_>) -> Result<(), Denial> {
        let attributes = scope.attributes();
        let facts = Facts::default();
        for name in objects::secrets(scope)? {
            let request = get_secret(&attributes.request.namespace, &name);
            let reading = attributes.reading(&request);
            let is_read = matches!(self.conclude(&reading, &facts), Decision::Allow(_));
            let reading = Scope::new(&reading, &facts);
            if !is_read || self.withholding(&reading).is_some() {
                return Err(Denial::secret_behind_glass(&name));
            }
        }
        Ok(())
    }

    fn permit_behind(
        &self,
        glass: &Glass,
        lifted: &Lifted,
        found: &Found<'_>,
        scope: &Scope<'_>,
    ) -> permit::Permit {
        let mut obligations = found.restrictions();
        let certain = found.hits.iter().map(|hit| hit.rule);
        for rule in certain.clone().chain(found.open.iter().copied()) {
            obligations.tighten(rule);
        }
        let caller = scope.attributes().identity;
        let may_pass = |rule: &Rule| rule.effect != Effect::Deny && rule.may_allow(caller);
        if !certain.clone().any(may_pass) {
            // No rule says what the agent may see.
            obligations.agent_view = AgentView::Masked;
            obligations.hides_manifests = true;
        }
        permit::behind_glass(
            glass,
            lifted,
            obligations,
            scope.risk(),
            self.shared_digest(),
        )
    }
}

/// What must be learned to know whether a rule names the namespace, where the floor asks for one that does.
fn naming(found: &Found<'_>, attributes: &Attributes<'_>) -> Result<Wants, Denial> {
    if !running::must_be_named(attributes) || found.names(attributes) {
        return Ok(Wants::default());
    }
    match found.may_name(attributes) {
        true => Ok(found.wants),
        false => Err(running::unnamed(attributes.request)),
    }
}
