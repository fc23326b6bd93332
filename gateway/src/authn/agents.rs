//! `Agent` objects from a directory: what an operator declares about a credential.
//!
//! Where several objects match one identity the most specific counts: the one whose match implies
//! every other's. Objects that can never be told apart are refused when they are loaded; where only
//! a real identity shows that two overlap, that identity is refused.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    api::v1alpha1::{
        agent::{AgentMatch, AgentSpec},
        matching::ANY,
    },
    identity::{AgentIdentity, GenAi},
};

use super::Unauthenticated;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot read agents from {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Invalid { path: PathBuf, message: String },
    #[error("{}: metadata.name: agent {name:?} is also in {}; give each agent its own name", path.display(), other.display())]
    NameTaken {
        path: PathBuf,
        other: PathBuf,
        name: String,
    },
    #[error(
        "{}: spec.match: agent {name:?} matches the same identities as {other:?} of {}; make one more specific",
        path.display(),
        other_path.display()
    )]
    Overlap {
        path: PathBuf,
        name: String,
        other_path: PathBuf,
        other: String,
    },
}

/// One `Agent` object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Agent {
    name: String,
    spec: AgentSpec,
    file: PathBuf,
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
        claims: &'a BTreeMap<String, String>,
    },
}

impl AgentSet {
    /// Reads every YAML and JSON file of `directory`, in the order of their names.
    pub fn load(directory: &Path) -> Result<Self, AgentError> {
        let mut set = Self::default();
        for path in object_files(directory)? {
            for agent in read_agents(&path)? {
                set.add(agent)?;
            }
        }
        Ok(set)
    }

    pub fn len(&self) -> usize {
        self.agents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    fn add(&mut self, agent: Agent) -> Result<(), AgentError> {
        for other in &self.agents {
            if other.name == agent.name {
                return Err(AgentError::NameTaken {
                    path: agent.file,
                    other: other.file.clone(),
                    name: agent.name,
                });
            }
            if cannot_be_told_apart(&agent.spec.r#match, &other.spec.r#match) {
                return Err(AgentError::Overlap {
                    path: agent.file,
                    name: agent.name,
                    other_path: other.file.clone(),
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

/// The files of a directory that hold objects. Names with a leading dot are skipped: a mounted
/// ConfigMap keeps its generations there.
fn object_files(directory: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let unreadable = |source| AgentError::Unreadable {
        path: directory.to_owned(),
        source,
    };
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if is_object_file(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_object_file(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    });
    known && !hidden
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    api_version: String,
    kind: String,
}

/// The object as a file holds it; the derived custom resource would let misspelt fields pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: ObjectMeta,
    spec: AgentSpec,
}

fn read_agents(path: &Path) -> Result<Vec<Agent>, AgentError> {
    let text = std::fs::read_to_string(path).map_err(|source| AgentError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse_agents(&text, path).map_err(|message| AgentError::Invalid {
        path: path.to_owned(),
        message,
    })
}

fn parse_agents(text: &str, path: &Path) -> Result<Vec<Agent>, String> {
    let types: Vec<TypeMeta> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    types.iter().try_for_each(check_type)?;
    let documents: Vec<Document> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    documents
        .into_iter()
        .map(|document| check_agent(document, path))
        .collect()
}

fn check_type(found: &TypeMeta) -> Result<(), String> {
    if found.api_version != "sallyport.dev/v1alpha1" {
        return Err(format!(
            "apiVersion: {:?} must be sallyport.dev/v1alpha1",
            found.api_version
        ));
    }
    if found.kind != "Agent" {
        return Err(format!(
            "kind: {:?} is not Agent; keep other objects in another directory",
            found.kind
        ));
    }
    Ok(())
}

fn check_agent(document: Document, path: &Path) -> Result<Agent, String> {
    let name = document.metadata.name.unwrap_or_default();
    if name.is_empty() {
        return Err("metadata.name: must not be empty".into());
    }
    check_match(&document.spec.r#match)?;
    Ok(Agent {
        name,
        spec: document.spec,
        file: path.to_owned(),
    })
}

fn check_match(wanted: &AgentMatch) -> Result<(), String> {
    match wanted {
        AgentMatch::ServiceAccount(account) if account.namespace.is_empty() || account.name.is_empty() => {
            Err("spec.match.serviceAccount: namespace and name must not be empty; \"*\" matches all".into())
        }
        AgentMatch::Oidc(oidc) if oidc.claims.is_empty() => Err(format!(
            "spec.match.oidc.claims: name at least one claim, or every token of {:?} is this agent",
            oidc.issuer
        )),
        _ => Ok(()),
    }
}

/// Whether a reload brought anything new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Changed {
    Yes,
    No,
}

/// The directory of agents and the last set of it that was good.
#[derive(Debug)]
pub struct AgentSource {
    directory: Option<PathBuf>,
    current: watch::Sender<Arc<AgentSet>>,
}

impl AgentSource {
    /// Loads the first set; without a directory it is empty and stays so.
    pub fn open(directory: Option<&Path>) -> Result<Self, AgentError> {
        let source = Self {
            directory: directory.map(Path::to_owned),
            current: watch::Sender::new(Arc::default()),
        };
        source.reload()?;
        Ok(source)
    }

    /// Reads the directory again. On an error the set in use stays.
    pub fn reload(&self) -> Result<Changed, AgentError> {
        let Some(directory) = &self.directory else {
            return Ok(Changed::No);
        };
        let fresh = AgentSet::load(directory)?;
        let changed = self.current.send_if_modified(|current| {
            let differs = **current != fresh;
            if differs {
                *current = Arc::new(fresh);
            }
            differs
        });
        Ok(if changed { Changed::Yes } else { Changed::No })
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<AgentSet>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests;
