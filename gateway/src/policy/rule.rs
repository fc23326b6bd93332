//! A rule as it is evaluated.

use std::{slice, sync::Arc};

use self::reaching::Reaching;
use super::{
    builtin::is_built_in,
    expression::{Expression, Outcome, Scope},
    judgement::Wants,
    matching,
    obligations::Obligations,
    terms::Terms,
};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentSubject, Effect, Subject},
        matching::{ANY, OidcMatch},
    },
    identity::{Identity, Source, Workload},
    request_info::RequestInfo,
};

mod reaching;

#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// `<policy>/<rule>`.
    pub(super) id: Arc<str>,
    pub(super) effect: Effect,
    /// Its effect does not count: what it would have done is only said.
    pub(super) is_audited: bool,
    pub(super) subjects: Arc<[Subject]>,
    pub(super) verbs: Vec<String>,
    pub(super) target: Target,
    pub(super) when: Option<Expression>,
    pub(super) unless: Option<Expression>,
    pub(super) reason: Option<String>,
    pub(super) obligations: Obligations,
    /// Where the effect is `RequireApproval`.
    pub(super) terms: Option<Terms>,
}

/// What a rule selects. No list is empty.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Objects {
        api_groups: Vec<String>,
        resources: Vec<String>,
        namespaces: Vec<String>,
        names: Vec<String>,
    },
    Paths(Vec<String>),
}

/// The first selector of a rule that does not select a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Selector {
    Subjects,
    Verbs,
    ApiGroups,
    Resources,
    Namespaces,
    Names,
    NonResourceUrls,
}

/// Whether a rule matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Matching {
    No,
    Yes {
        /// Why an expression could not be evaluated, which counts against the call.
        problem: Option<String>,
    },
    /// That depends on what is not learned yet.
    Unknown(Wants),
}

impl Rule {
    /// Whether a subject is the caller, or a part of it: a user's token in a pod is both.
    pub(super) fn is_for(&self, identity: &Identity) -> bool {
        is_for(&self.subjects, identity)
    }

    /// Whether the rule can let the caller pass: of a user's token in a pod a subject must name both.
    pub(super) fn may_allow(&self, identity: &Identity) -> bool {
        let names_both = |subject: &Subject| {
            matches!(subject, Subject::Workload(_)) && is_caller(subject, identity)
        };
        identity.pod_of_user().is_none()
            || is_built_in(&self.id)
            || self.subjects.iter().any(names_both)
    }

    /// Where the caller is one of the rule's subjects.
    pub(super) fn matching(&self, scope: &Scope<'_>) -> Matching {
        match self.mismatch(scope.attributes().request) {
            Some(_) => Matching::No,
            None => self.conditions(scope),
        }
    }

    /// The first selector that does not match, subjects aside.
    pub(super) fn mismatch(&self, request: &RequestInfo) -> Option<Selector> {
        self.mismatch_within(self.reach(), request)
    }

    fn mismatch_within(&self, reach: Reaching, request: &RequestInfo) -> Option<Selector> {
        let matched = [
            (self.matches_verb(request), Selector::Verbs),
            (self.matches_kind(request), self.kind()),
        ];
        let first = matched.into_iter().find(|(matches, _)| !matches);
        match (first, &self.target) {
            (Some((_, selector)), _) => Some(selector),
            (None, Target::Objects { .. }) => self.object_mismatch(reach, request),
            (None, Target::Paths(paths)) => {
                (!reach.matches_path(paths, &request.path)).then_some(Selector::NonResourceUrls)
            }
        }
    }

    /// Whether it matches, or would if its expressions could be evaluated.
    pub(super) fn may_match(&self, scope: &Scope<'_>) -> bool {
        self.mismatch(scope.attributes().request).is_none() && self.may_hold(scope)
    }

    /// Whether it narrows what passes, and a part of this call may be what it selects: a view of one Secret counts for
    /// a list of all, as a denial of one does.
    pub(super) fn may_restrict(&self, scope: &Scope<'_>) -> bool {
        self.obligations.restrict()
            && self
                .mismatch_within(Reaching::WhatItMayConcern, scope.attributes().request)
                .is_none()
            && self.may_hold(scope)
    }

    /// Unless an expression says no.
    fn may_hold(&self, scope: &Scope<'_>) -> bool {
        let is = |expression: &Option<Expression>, value| {
            let evaluated = expression
                .as_ref()
                .map(|expression| expression.evaluate(scope));
            evaluated == Some(Outcome::Is(value))
        };
        !is(&self.when, false) && !is(&self.unless, true)
    }

    /// An expression that cannot be evaluated keeps an `Allow` from matching, and nothing else.
    fn conditions(&self, scope: &Scope<'_>) -> Matching {
        let evaluate = |expression: &Option<Expression>, absent| {
            let evaluated = expression
                .as_ref()
                .map(|expression| expression.evaluate(scope));
            evaluated.unwrap_or(Outcome::Is(absent))
        };
        let when = evaluate(&self.when, true);
        if when == Outcome::Is(false) {
            return Matching::No;
        }
        match (when, evaluate(&self.unless, false)) {
            (_, Outcome::Is(true)) => Matching::No,
            (Outcome::Failed(problem), _) | (_, Outcome::Failed(problem)) => self.failed(problem),
            (Outcome::Unknown(one), Outcome::Unknown(other)) => Matching::Unknown(one.and(other)),
            (Outcome::Unknown(wants), _) | (_, Outcome::Unknown(wants)) => Matching::Unknown(wants),
            (Outcome::Is(_), Outcome::Is(_)) => Matching::Yes { problem: None },
        }
    }

    /// What becomes of the rule where an expression cannot be evaluated.
    pub(super) fn failed(&self, problem: String) -> Matching {
        if self.denies() {
            Matching::Yes {
                problem: Some(problem),
            }
        } else {
            Matching::No
        }
    }

    /// Whether the rule speaks of `namespace` by name.
    pub(super) fn names_namespace(&self, namespace: &str) -> bool {
        match &self.target {
            Target::Objects { namespaces, .. } => namespaces
                .iter()
                .any(|entry| entry == namespace && entry != ANY),
            Target::Paths(_) => false,
        }
    }

    /// Whether it takes something away: such a rule reaches what it only may concern.
    fn denies(&self) -> bool {
        self.effect != Effect::Allow
    }

    /// For its effect.
    fn reach(&self) -> Reaching {
        match self.denies() {
            true => Reaching::WhatItMayConcern,
            false => Reaching::WhatItNames,
        }
    }

    /// Clients open exec, attach and port-forward with `get` or with `create`, for one and the same action. An
    /// `Allow` of `get` reaches it only where the rule names the subresource: `get` of `*` is how people write that
    /// somebody may read.
    fn matches_verb(&self, request: &RequestInfo) -> bool {
        let names = |verb: &str| matching::lists(&self.verbs, verb);
        match request.verb.as_str() {
            "get" | "create" if request.is_stream() => {
                names("create")
                    || names("get") && (self.denies() || self.names_subresource(request))
            }
            verb => names(verb),
        }
    }

    fn names_subresource(&self, request: &RequestInfo) -> bool {
        let Target::Objects { resources, .. } = &self.target else {
            return false;
        };
        let (resource, subresource) = (&request.resource, &request.subresource);
        let mut named = resources.iter().filter(|entry| entry.contains('/'));
        named.any(|entry| matching::lists_resource(slice::from_ref(entry), resource, subresource))
    }

    fn matches_kind(&self, request: &RequestInfo) -> bool {
        matches!(self.target, Target::Objects { .. }) == request.is_resource_request
    }

    fn kind(&self) -> Selector {
        match self.target {
            Target::Objects { .. } => Selector::Resources,
            Target::Paths(_) => Selector::NonResourceUrls,
        }
    }

    fn object_mismatch(&self, reach: Reaching, request: &RequestInfo) -> Option<Selector> {
        let Target::Objects {
            api_groups,
            resources,
            namespaces,
            names,
        } = &self.target
        else {
            return None;
        };
        if !self.matches_resource(resources, reach, request) {
            Some(Selector::Resources)
        } else if !reach.matches_group(api_groups, request) {
            Some(Selector::ApiGroups)
        } else if !reach.matches_namespace(namespaces, request) {
            Some(Selector::Namespaces)
        } else if !reach.matches_name(names, request) {
            Some(Selector::Names)
        } else {
            None
        }
    }

    /// An `Allow` reaches a proxy only where it names the subresource: what passes there is no request that anybody
    /// could judge, a `get` included. Pods are bound to nodes under two resources: a `Deny` of one denies the other.
    fn matches_resource(
        &self,
        resources: &[String],
        reach: Reaching,
        request: &RequestInfo,
    ) -> bool {
        let (resource, subresource) = (request.resource.as_str(), request.subresource.as_str());
        if subresource == "proxy" && !self.denies() {
            return self.names_subresource(request);
        }
        let alias = match (request.api_group.as_str(), resource, subresource) {
            ("", "pods", "binding") => Some(("bindings", "")),
            ("", "bindings", "") => Some(("pods", "binding")),
            _ => None,
        };
        matching::lists_resource(resources, resource, subresource)
            || reach.is_wide()
                && alias.is_some_and(|(resource, subresource)| {
                    matching::lists_resource(resources, resource, subresource)
                })
    }
}

pub(super) fn is_for(subjects: &[Subject], identity: &Identity) -> bool {
    subjects.iter().any(|subject| is_caller(subject, identity))
}

/// Whether a subject is the caller or a part of it. That lets nothing pass: see [`Rule::may_allow`].
fn is_caller(subject: &Subject, identity: &Identity) -> bool {
    match subject {
        Subject::ServiceAccount(account) => service_account(identity)
            .is_some_and(|(namespace, name)| account.matches(namespace, name)),
        Subject::Oidc(oidc) => identity
            .issuer
            .as_ref()
            .is_some_and(|issuer| oidc.matches(issuer, &identity.claims)),
        Subject::Agent(agent) => {
            is_agent(agent, identity) || is_named(agent, identity.pod_agent.as_deref())
        }
        Subject::Workload(workload) => {
            let pod = identity.pod_of_user();
            let account = &workload.service_account;
            let has_claims = |oidc: &OidcMatch| {
                let issuer = identity.issuer.as_ref();
                issuer.is_some_and(|issuer| oidc.matches(issuer, &identity.claims))
            };
            pod.is_some_and(|pod| account.matches(&pod.namespace, &pod.service_account))
                && workload.oidc.as_ref().is_none_or(has_claims)
                && workload
                    .agent
                    .as_ref()
                    .is_none_or(|agent| is_agent(agent, identity))
        }
        Subject::All(_) => true,
    }
}

fn is_agent(agent: &AgentSubject, identity: &Identity) -> bool {
    is_named(agent, declared_agent(identity))
}

fn is_named(agent: &AgentSubject, name: Option<&str>) -> bool {
    name.is_some_and(|name| agent.name == ANY || agent.name == name)
}

/// An OIDC subject may look like a ServiceAccount's name, so the issuer decides first.
fn service_account(identity: &Identity) -> Option<(&str, &str)> {
    if let Some(pod) = identity.pod_of_user() {
        return Some((&pod.namespace, &pod.service_account));
    }
    let account = identity
        .user
        .username
        .strip_prefix("system:serviceaccount:")?;
    account
        .split_once(':')
        .filter(|_| identity.issuer.is_none())
}

/// Whether people may mean this caller by `name`: its agent's as somebody else than the agent says it, or a user's as
/// records have it.
pub(super) fn is_called(identity: &Identity, name: &str) -> bool {
    declared_agent(identity) == Some(name)
        || identity.user.username == name
        || identity.upstream_user.username == name
}

/// Whether `name` is the user that the pod's own token is of.
pub(super) fn is_account(name: &str, pod: &Workload) -> bool {
    let account = name.strip_prefix("system:serviceaccount:");
    let account = account.and_then(|account| account.split_once(':'));
    account == Some((&pod.namespace, &pod.service_account))
}

/// The agent's name where somebody else than the agent says so.
pub(super) fn declared_agent(identity: &Identity) -> Option<&str> {
    let agent = identity.provenance.agent.as_ref()?;
    let declared = identity
        .provenance
        .source
        .agent
        .is_some_and(|source| source < Source::SelfDeclared);
    declared.then_some(&agent.name)
}
