//! How a call is judged: the floor, every rule, the creations that it may be, and the Secrets that it would read.

use super::{
    Audited, Decision, Denial, Facts, Judgement, Obligations, PolicySet, Undecided,
    creation::Creation,
    expression::Scope,
    floor::{self, objects, running},
    judgement::Wants,
    permit::{self, Hit},
    rule::{Matching, Rule},
};
use crate::{api::v1alpha1::agent_policy::Effect, identity::Attributes, request_info::RequestInfo};

/// Whether more may be learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Facing {
    More,
    /// What is not learned cannot be evaluated.
    End,
}

/// What the rules say of one request.
#[derive(Default)]
pub(super) struct Found<'r> {
    pub(super) hits: Vec<Hit<'r>>,
    /// Rules that may match once more is learned.
    pub(super) open: Vec<&'r Rule>,
    /// Rules that let nothing pass here, and may concern a part of what does.
    restricting: Vec<&'r Rule>,
    pub(super) wants: Wants,
}

impl PolicySet {
    /// Judges a call by what is known of it, or says what must be learned first. A rule that is sure to deny it, or
    /// none that could allow it, ends it without anything being learned.
    pub fn judge(&self, attributes: &Attributes<'_>, facts: &Facts) -> Judgement {
        let scope = Scope::new(attributes, facts);
        match self.find(&scope, Facing::More) {
            Err(denial) => Judgement::Decided(Decision::Deny(denial)),
            Ok(found) if found.wants.any() => Judgement::Undecided(Undecided::new(
                attributes,
                found.wants,
                self.shared_digest(),
            )),
            Ok(found) => Judgement::Decided(self.settle(found, &scope)),
        }
    }

    /// Judges a call of which nothing more will be known: what was not learned cannot be evaluated.
    pub fn conclude(&self, attributes: &Attributes<'_>, facts: &Facts) -> Decision {
        let scope = Scope::new(attributes, facts);
        match self.find(&scope, Facing::End) {
            Err(denial) => Decision::Deny(denial),
            Ok(found) => self.settle(found, &scope),
        }
    }

    /// Judges the request line alone.
    pub fn evaluate(&self, attributes: &Attributes<'_>) -> Decision {
        self.conclude(attributes, &Facts::default())
    }

    /// What the policies in `mode: Audit` would have done, whatever the others do.
    pub fn audited(&self, attributes: &Attributes<'_>, facts: &Facts) -> Vec<Audited> {
        if !self.has_audited() {
            return Vec::new();
        }
        let scope = Scope::new(attributes, facts);
        let rules = self.candidates(attributes.identity, attributes.request);
        rules
            .filter(|rule| rule.is_audited && matching(rule, &scope, Facing::End) != Matching::No)
            .map(Audited::of)
            .collect()
    }

    fn settle(&self, found: Found<'_>, scope: &Scope<'_>) -> Decision {
        permit::decide(
            &found.hits,
            found.restrictions(),
            scope,
            self.shared_digest(),
        )
    }

    fn find(&self, scope: &Scope<'_>, facing: Facing) -> Result<Found<'_>, Denial> {
        let attributes = scope.attributes();
        floor::check(attributes)?;
        let mut found = self.undenied(scope, facing)?;
        if running::must_be_named(attributes) && !found.may_name(attributes) {
            return Err(running::unnamed(attributes.request));
        }
        self.add_creations(&mut found, attributes, scope, facing)?;
        let wants = objects::wants(scope);
        if !wants.any() {
            floor::check_objects(scope)?;
            self.add_secrets(&mut found, scope, facing)?;
        } else if facing == Facing::End {
            return Err(objects::unlearned(attributes.request));
        }
        found.wants = found.wants.and(wants);
        Ok(found)
    }

    /// The rules that match, where none denies and one could allow.
    fn undenied(&self, scope: &Scope<'_>, facing: Facing) -> Result<Found<'_>, Denial> {
        let found = self.matching(scope, facing);
        let denying = found
            .hits
            .iter()
            .find(|hit| hit.rule.effect == Effect::Deny);
        if let Some(Hit { rule, problem }) = denying {
            let request = scope.attributes().request;
            return Err(Denial::by_rule(rule, request, problem.as_deref()));
        }
        let caller = scope.attributes().identity;
        let mut passing = found
            .hits
            .iter()
            .map(|hit| hit.rule)
            .chain(found.open.iter().copied());
        if passing.any(|rule| rule.effect != Effect::Deny && rule.may_allow(caller)) {
            return Ok(found);
        }
        Err(match caller.pod_of_user() {
            Some(pod) => Denial::of_user_in_pod(&caller.user, pod),
            None => Denial::by_default(),
        })
    }

    pub(super) fn matching(&self, scope: &Scope<'_>, facing: Facing) -> Found<'_> {
        let mut found = Found::default();
        let attributes = scope.attributes();
        for rule in self.candidates(attributes.identity, attributes.request) {
            match matching(rule, scope, facing) {
                Matching::No if rule.is_audited => {}
                Matching::No => {
                    let restricts = rule.may_restrict(scope) && counts(rule, scope);
                    found.restricting.extend(restricts.then_some(rule));
                }
                Matching::Yes { .. } if rule.is_audited => {}
                Matching::Yes { problem } => found.hits.push(Hit { rule, problem }),
                Matching::Unknown(wants) => {
                    found.wants = found.wants.and(wants);
                    found.open.extend((!rule.is_audited).then_some(rule));
                }
            }
        }
        found
    }

    /// Judges a request that creates under another verb as the creation that it may be, too.
    fn add_creations<'s>(
        &'s self,
        found: &mut Found<'s>,
        attributes: &Attributes<'_>,
        scope: &Scope<'_>,
        facing: Facing,
    ) -> Result<(), Denial> {
        for creation in Creation::all_of(attributes) {
            let created = Attributes {
                request: &creation.request,
                ..*attributes
            };
            match self.undenied(&scope.of(&created), facing) {
                Ok(creating) => found.add(creating, creation.needs_allow),
                Err(denial) if denial.is_default() && !creation.needs_allow => {}
                Err(denial) => return Err(denial.of_creation(attributes)),
            }
        }
        Ok(())
    }

    /// Whoever makes a pod reads what the pod is given, so the rules on `get` of its Secrets count. What they show only
    /// masked, a pod is given where they say so.
    fn add_secrets<'s>(
        &'s self,
        found: &mut Found<'s>,
        scope: &Scope<'_>,
        facing: Facing,
    ) -> Result<(), Denial> {
        let attributes = scope.attributes();
        let facts = Facts::default();
        for name in objects::secrets(scope)? {
            let request = get_secret(&attributes.request.namespace, &name);
            let reading = attributes.reading(&request);
            let reading = Scope::new(&reading, &facts);
            let read = self.undenied(&reading, facing);
            let read = read.map_err(|denial| denial.of_reference(&name))?;
            if let Some(rule) = self.withholding(&reading) {
                return Err(Denial::masked_reference(rule, &name));
            }
            found.add(read, false);
        }
        Ok(())
    }

    /// A rule that shows the Secret only masked, or may once more is known of it, and gives it to no pod.
    pub(super) fn withholding(&self, reading: &Scope<'_>) -> Option<&Rule> {
        let found = self.matching(reading, Facing::More);
        let mut rules = found.rules();
        rules.find(|rule| rule.obligations.withholds_secrets)
    }
}

impl<'r> Found<'r> {
    /// What else the call is counts as well: what asks for approval there asks for it here. Obligations of an `Allow`
    /// come along where the call needs that `Allow`.
    fn add(&mut self, other: Self, with_allows: bool) {
        let counts = |hit: &Hit<'_>| with_allows || hit.rule.effect == Effect::RequireApproval;
        let is_new = |hit: &Hit<'_>, hits: &[Hit<'_>]| {
            hits.iter().all(|known| !std::ptr::eq(known.rule, hit.rule))
        };
        for hit in other.hits {
            if counts(&hit) && is_new(&hit, &self.hits) {
                self.hits.push(hit);
            }
        }
        if with_allows {
            self.restricting.extend(other.restricting);
        }
        self.wants = self.wants.and(other.wants);
    }

    /// All that else matches, each once.
    pub(super) fn join(&mut self, other: Self) {
        let is_new =
            |rule: &Rule, known: &[&Rule]| !known.iter().any(|one| std::ptr::eq(*one, rule));
        let known: Vec<_> = self.hits.iter().map(|hit| hit.rule).collect();
        let hits = other.hits.into_iter();
        self.hits
            .extend(hits.filter(|hit| is_new(hit.rule, &known)));
        let open = other.open.into_iter();
        let new: Vec<_> = open.filter(|rule| is_new(rule, &self.open)).collect();
        self.open.extend(new);
        self.restricting.extend(other.restricting);
    }

    /// All that match, may match, or may concern a part of the call.
    fn rules(&self) -> impl Iterator<Item = &'r Rule> {
        let certain = self.hits.iter().map(|hit| hit.rule);
        let others = self.open.iter().chain(&self.restricting);
        certain.chain(others.copied())
    }

    /// What binds the gateway beside the rules that match.
    pub(super) fn restrictions(&self) -> Obligations {
        let mut obligations = Obligations::default();
        for rule in &self.restricting {
            obligations.tighten_silently(rule);
        }
        obligations
    }

    /// Whether a rule that matches names the namespace and lets pass.
    pub(super) fn names(&self, attributes: &Attributes<'_>) -> bool {
        let mut hits = self.hits.iter().map(|hit| hit.rule);
        hits.any(|rule| lets_pass_by_name(rule, attributes))
    }

    /// Or one that may match.
    pub(super) fn may_name(&self, attributes: &Attributes<'_>) -> bool {
        let mut open = self.open.iter();
        self.names(attributes) || open.any(|rule| lets_pass_by_name(rule, attributes))
    }
}

fn lets_pass_by_name(rule: &Rule, attributes: &Attributes<'_>) -> bool {
    rule.effect != Effect::Deny
        && rule.may_allow(attributes.identity)
        && running::names(rule, attributes)
}

fn matching(rule: &Rule, scope: &Scope<'_>, facing: Facing) -> Matching {
    if !counts(rule, scope) {
        return Matching::No;
    }
    match rule.matching(scope) {
        Matching::Unknown(_) if facing == Facing::End => {
            rule.failed("the object that it reads could not be learned".to_owned())
        }
        matching => matching,
    }
}

/// An `Allow` for a part of the caller alone is none, and narrows nothing.
fn counts(rule: &Rule, scope: &Scope<'_>) -> bool {
    rule.effect != Effect::Allow || rule.may_allow(scope.attributes().identity)
}

pub(super) fn get_secret(namespace: &str, name: &str) -> RequestInfo {
    RequestInfo {
        is_resource_request: true,
        verb: "get".to_owned(),
        path: format!("/api/v1/namespaces/{namespace}/secrets/{name}"),
        api_prefix: "api".to_owned(),
        api_version: "v1".to_owned(),
        namespace: namespace.to_owned(),
        resource: "secrets".to_owned(),
        name: name.to_owned(),
        ..RequestInfo::default()
    }
}
