//! `Agent` objects as files hold them.

use std::path::{Path, PathBuf};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Agent, AgentError, AgentMatch, AgentSpec};
use crate::config::yaml_problem;

/// The files of a directory that hold objects. Names with a leading dot are skipped: a mounted
/// ConfigMap keeps its generations there.
pub(super) fn object_files(directory: &Path) -> Result<Vec<PathBuf>, AgentError> {
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

pub(super) fn read_agents(path: &Path) -> Result<Vec<Agent>, AgentError> {
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
        serde_saphyr::from_multiple(text).map_err(|error| yaml_problem(&error))?;
    types.iter().try_for_each(check_type)?;
    let documents: Vec<Document> =
        serde_saphyr::from_multiple(text).map_err(|error| yaml_problem(&error))?;
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
