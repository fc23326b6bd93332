//! A rule as it is evaluated.

use std::{slice, sync::Arc};

use super::{matching, obligations::Obligations, scope::Scope, terms::Terms};
use crate::{
    api::v1alpha1::{
        agent_policy::{Effect, Subject},
        matching::ANY,
    },
    identity::{Attributes, Identity, Source},
    request_info::RequestInfo,
};

#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// `<policy>/<rule>`.
    pub(super) id: Arc<str>,
    pub(super) effect: Effect,
    pub(super) subjects: Arc<[Subject]>,
    pub(super) verbs: Vec<String>,
    pub(super) target: Target,
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

impl Rule {
    pub(super) fn matches(&self, attributes: &Attributes<'_>) -> bool {
        self.subjects
            .iter()
            .any(|subject| is_caller(subject, attributes.identity))
            && self.matches_verb(attributes.request)
            && self.matches_target(attributes.request)
    }

    /// Whether it takes something away: such a rule reaches what it only may concern.
    fn denies(&self) -> bool {
        self.effect != Effect::Allow
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

    fn matches_target(&self, request: &RequestInfo) -> bool {
        match &self.target {
            Target::Objects {
                api_groups,
                resources,
                namespaces,
                names,
            } => {
                request.is_resource_request
                    && self.matches_group(api_groups, request)
                    && matching::lists_resource(resources, &request.resource, &request.subresource)
                    && self.matches_namespace(namespaces, request)
                    && self.matches_name(names, request)
            }
            Target::Paths(paths) => {
                !request.is_resource_request && self.matches_path(paths, &request.path)
            }
        }
    }

    /// Events are served under two groups: a `Deny` of one denies the other.
    fn matches_group(&self, api_groups: &[String], request: &RequestInfo) -> bool {
        let alias = match (request.api_group.as_str(), request.resource.as_str()) {
            ("", "events") => Some("events.k8s.io"),
            ("events.k8s.io", "events") => Some(""),
            _ => None,
        };
        matching::lists(api_groups, &request.api_group)
            || self.denies() && alias.is_some_and(|alias| matching::lists(api_groups, alias))
    }

    /// A request over all namespaces touches each of them: an `Allow` must say so, and every `Deny` is hit.
    fn matches_namespace(&self, namespaces: &[String], request: &RequestInfo) -> bool {
        match Scope::of(request) {
            Scope::Namespace(namespace) => matching::lists(namespaces, namespace),
            Scope::Cluster => matching::lists(namespaces, ""),
            Scope::AllNamespaces => {
                self.denies() || namespaces.iter().any(|namespace| namespace == ANY)
            }
        }
    }

    /// A request without a name may touch any object: an `Allow` must say so, and every `Deny` is hit.
    fn matches_name(&self, names: &[String], request: &RequestInfo) -> bool {
        if request.name.is_empty() {
            return self.denies() || names.iter().any(|name| name == ANY);
        }
        let proxied = self.denies() && request.subresource == "proxy";
        matching::lists(names, &request.name)
            || proxied && matching::lists(names, proxied_name(&request.name))
    }

    fn matches_path(&self, paths: &[String], path: &str) -> bool {
        let trimmed = path.trim_end_matches('/');
        matching::lists_path(paths, path) || self.denies() && matching::lists_path(paths, trimmed)
    }
}

/// The object in `name`, `name:port` or `scheme:name:port`.
fn proxied_name(name: &str) -> &str {
    match name.split(':').collect::<Vec<_>>()[..] {
        [_, name, _] => name,
        [name, _] => name,
        _ => name,
    }
}

fn is_caller(subject: &Subject, identity: &Identity) -> bool {
    match subject {
        Subject::ServiceAccount(account) => service_account(identity)
            .is_some_and(|(namespace, name)| account.matches(namespace, name)),
        Subject::Oidc(oidc) => identity
            .issuer
            .as_ref()
            .is_some_and(|issuer| oidc.matches(issuer, &identity.claims)),
        Subject::Agent(agent) => {
            declared_agent(identity).is_some_and(|name| agent.name == ANY || agent.name == name)
        }
        Subject::All(_) => true,
    }
}

/// An OIDC subject may look like a ServiceAccount's name, so the issuer decides first.
fn service_account(identity: &Identity) -> Option<(&str, &str)> {
    let account = identity
        .user
        .username
        .strip_prefix("system:serviceaccount:")?;
    account
        .split_once(':')
        .filter(|_| identity.issuer.is_none())
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
