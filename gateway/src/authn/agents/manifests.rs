//! `Agent` objects as people write them.

use std::path::Path;

use super::{Agent, AgentError, AgentMatch};
use crate::api::v1alpha1::{
    agent::{self, AgentSpec},
    manifest::{self, Manifest, Manifests, Problem},
};

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

/// Every agent of `directory`.
pub(super) fn read(directory: &Path) -> Result<Manifests<AgentSpec>, AgentError> {
    let read = manifest::read_directory::<agent::Agent>(directory);
    read.map_err(|source| AgentError::Unreadable {
        path: directory.to_owned(),
        source,
    })
}

/// The agents, or everything that is wrong with any.
pub(super) fn agents(mut manifests: Manifests<AgentSpec>) -> Result<Vec<Agent>, AgentError> {
    let wrong = manifests.valid.iter().filter_map(|manifest| {
        let (field, message) = check(manifest).err()?;
        Some(problem(manifest, field, &message))
    });
    manifests.problems.extend(wrong);
    if !manifests.problems.is_empty() {
        return Err(AgentError::Invalid(manifests.problems));
    }
    let agents = manifests.valid.into_iter().map(|manifest| Agent {
        name: manifest.name,
        spec: manifest.spec,
        place: manifest.place,
    });
    Ok(agents.collect())
}

fn problem(manifest: &Manifest<AgentSpec>, field: &str, message: &str) -> Problem {
    Problem {
        place: manifest.place.clone(),
        line: manifest.outline.line(field),
        object: Some(manifest.name.clone()),
        message: format!("{field}: {message}"),
    }
}

fn check(manifest: &Manifest<AgentSpec>) -> Result<(), Wrong> {
    if manifest.name.is_empty() {
        return Err(("metadata.name", "must not be empty".into()));
    }
    match &manifest.spec.r#match {
        AgentMatch::ServiceAccount(account)
            if account.namespace.is_empty() || account.name.is_empty() =>
        {
            let message = "namespace and name must not be empty; \"*\" matches all";
            Err(("spec.match.serviceAccount", message.into()))
        }
        AgentMatch::Oidc(oidc) if oidc.claims.is_empty() => Err((
            "spec.match.oidc.claims",
            format!(
                "name at least one claim, or every token of {:?} is this agent",
                oidc.issuer
            ),
        )),
        _ => Ok(()),
    }
}
