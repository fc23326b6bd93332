//! `Agent` objects of files and of the cluster: what an operator declares about a credential.
//!
//! Where several objects match one identity the most specific counts: the one whose match implies
//! every other's. Objects that can never be told apart are refused when they are loaded; where only
//! a real identity shows that two overlap, that identity is refused.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    api::v1alpha1::{
        agent::{AgentMatch, AgentSpec},
        manifest::{self, Manifests, Place, Problem},
        matching::ANY,
    },
    identity::{AgentIdentity, GenAi},
};

use super::Unauthenticated;

pub use self::source::AgentSource;

mod manifests;
mod source;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot read agents from {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Everything that is wrong in all files.
    #[error("{}", manifest::lines(.0))]
    Invalid(Vec<Problem>),
    #[error(
        "{place}: metadata.name: agent {name:?} is also in {other}; give each agent its own name"
    )]
    NameTaken {
        place: Place,
        other: Place,
        name: String,
    },
    #[error(
        "{place}: spec.match: agent {name:?} matches the same identities as {other:?} of {other_place}; make one \
         more specific"
    )]
    Overlap {
        place: Place,
        name: String,
        other_place: Place,
        other: String,
    },
}

/// One `Agent` object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Agent {
    name: String,
    spec: AgentSpec,
    place: Place,
}

/// All agents that are declared, immutable.
#[derive(Debug, Default, PartialEq)]
pub struct AgentSet {
    agents: Vec<Agent>,
}

/// Whose agent is looked for.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    ServiceAccount {
        namespace: &'a str,
        name: &'a str,
    },
    Oidc {
        issuer: &'a str,
        claims: &'a BTreeMap<String, Vec<String>>,
    },
}

impl AgentSet {
    /// Reads every YAML file of `directory`, in the order of their names.
    pub fn load(directory: &Path) -> Result<Self, AgentError> {
        Self::of(manifests::read(directory)?)
    }

    fn of(manifests: Manifests<AgentSpec>) -> Result<Self, AgentError> {
        let mut set = Self::default();
        for agent in manifests::agents(manifests)? {
            set.add(agent)?;
        }
        Ok(set)
    }

    pub fn len(&self) -> usize {
        self.agents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Each agent that names an OIDC issuer, with the name.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.agents
            .iter()
            .filter_map(|agent| match &agent.spec.r#match {
                AgentMatch::Oidc(oidc) => Some((agent.name.as_str(), oidc.issuer.as_str())),
                AgentMatch::ServiceAccount(_) => None,
            })
    }

    fn add(&mut self, agent: Agent) -> Result<(), AgentError> {
        for other in &self.agents {
            if other.name == agent.name {
                return Err(AgentError::NameTaken {
                    place: agent.place,
                    other: other.place.clone(),
                    name: agent.name,
                });
            }
            if cannot_be_told_apart(&agent.spec.r#match, &other.spec.r#match) {
                return Err(AgentError::Overlap {
                    place: agent.place,
                    name: agent.name,
                    other_place: other.place.clone(),
                    other: other.name.clone(),
                });
            }
        }
        self.agents.push(agent);
        Ok(())
    }

    /// The most specific agent of `subject`, if any matches.
    pub(super) fn resolve(&self, subject: Subject<'_>) -> Result<Option<&Agent>, Unauthenticated> {
        let matching: Vec<&Agent> = self
            .agents
            .iter()
            .filter(|agent| agent.matches(subject))
            .collect();
        let implies_all = |agent: &&&Agent| {
            matching
                .iter()
                .all(|other| implies(&agent.spec.r#match, &other.spec.r#match))
        };
        match matching.iter().find(implies_all) {
            Some(agent) => Ok(Some(agent)),
            None if matching.is_empty() => Ok(None),
            None => Err(Unauthenticated::AmbiguousAgent(
                matching.iter().map(|agent| agent.name.clone()).collect(),
            )),
        }
    }
}

impl Agent {
    fn matches(&self, subject: Subject<'_>) -> bool {
        match (&self.spec.r#match, subject) {
            (AgentMatch::ServiceAccount(wanted), Subject::ServiceAccount { namespace, name }) => {
                wanted.matches(namespace, name)
            }
            (AgentMatch::Oidc(wanted), Subject::Oidc { issuer, claims }) => {
                wanted.matches(issuer, claims)
            }
            _ => false,
        }
    }

    /// The agent as records show it; `instance` is the pod or the CI run it is in.
    pub(super) fn identity(&self, instance: Option<String>) -> AgentIdentity {
        let details = self.spec.agent.clone().unwrap_or_default();
        AgentIdentity {
            id: self.name.clone(),
            name: self.name.clone(),
            version: details.version,
            owner: details.owner,
            instance_id: instance,
        }
    }

    pub(super) fn model(&self) -> Option<GenAi> {
        self.spec.model.as_ref().map(|model| GenAi {
            provider_name: Some(model.provider.clone()),
            request_model: Some(model.name.clone()),
            model_version: model.version.clone(),
            conversation_id: None,
        })
    }
}

/// Whether every identity that `specific` matches is also matched by `general`.
fn implies(specific: &AgentMatch, general: &AgentMatch) -> bool {
    same_issuer(specific, general) && {
        let specific = conditions(specific);
        conditions(general).iter().all(|(field, wanted)| {
            specific
                .get(field)
                .is_some_and(|value| *wanted == ANY || wanted == value)
        })
    }
}

/// Equal matches, and ServiceAccount matches that overlap crosswise (`a/*` and `*/b` meet in `a/b`).
fn cannot_be_told_apart(one: &AgentMatch, other: &AgentMatch) -> bool {
    match (implies(one, other), implies(other, one)) {
        (true, true) => true,
        (false, false) => meet_for_certain(one, other),
        _ => false,
    }
}

fn meet_for_certain(one: &AgentMatch, other: &AgentMatch) -> bool {
    let (AgentMatch::ServiceAccount(one), AgentMatch::ServiceAccount(other)) = (one, other) else {
        return false;
    };
    let meet = |a: &str, b: &str| a == b || a == ANY || b == ANY;
    meet(&one.namespace, &other.namespace) && meet(&one.name, &other.name)
}

fn same_issuer(one: &AgentMatch, other: &AgentMatch) -> bool {
    match (one, other) {
        (AgentMatch::ServiceAccount(_), AgentMatch::ServiceAccount(_)) => true,
        (AgentMatch::Oidc(one), AgentMatch::Oidc(other)) => one.issuer == other.issuer,
        _ => false,
    }
}

fn conditions(wanted: &AgentMatch) -> BTreeMap<&str, &str> {
    match wanted {
        AgentMatch::ServiceAccount(account) => [
            ("namespace", account.namespace.as_str()),
            ("name", account.name.as_str()),
        ]
        .into_iter()
        .filter(|(_, value)| *value != ANY)
        .collect(),
        AgentMatch::Oidc(oidc) => oidc
            .claims
            .iter()
            .map(|(claim, value)| (claim.as_str(), value.as_str()))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
