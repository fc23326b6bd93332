//! How much of a call is recorded, from an unchanged `audit.k8s.io/v1` Policy.
//!
//! The semantics are kube-apiserver's (`k8s.io/apiserver/pkg/audit/policy`): the first rule that matches
//! decides, and without one the level is `None`. Three things are ours:
//! - A rule matches if it matches the caller's own name and groups, or those of the synthetic user that the
//!   API server sees, so a file written for either works.
//! - `None` is raised to `Metadata` unless the configuration says `recording.allowNone`.
//! - `omitStages` is checked and then has nothing to omit: `RequestReceived` and `ResponseComplete` are
//!   the evidence that a call began and how it ended, and the other stages are never written.
//!   `omitManagedFields` is accepted too; the record keeps the object as it passed.

use serde::{Deserialize, Deserializer};
use tracing::warn;

use self::rule::LevelRule;
use crate::{audit::record::Level, config::yaml_problem, identity::Attributes};

mod rule;
mod unknown;

const SHIPPED: &str = include_str!("level/shipped.yaml");

/// Why a record policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    #[error("the record policy is not an audit.k8s.io/v1 Policy: {0}")]
    Malformed(String),
    #[error("the record policy is not valid: {field}: {message}")]
    Invalid { field: String, message: String },
}

/// A record policy in force.
#[derive(Clone, Debug)]
pub struct LevelPolicy {
    rules: Vec<LevelRule>,
    allow_none: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    rules: Vec<LevelRule>,
    #[serde(default, deserialize_with = "nullable")]
    omit_stages: Vec<String>,
}

impl LevelPolicy {
    /// Parses a policy as kube-apiserver does: an unknown field is a warning, not an error.
    pub fn parse(text: &str, allow_none: bool) -> Result<Self, LevelError> {
        let malformed = |error: serde_saphyr::Error| LevelError::Malformed(yaml_problem(&error));
        let file: File = serde_saphyr::from_str(text).map_err(malformed)?;
        file.check()?;
        for field in unknown::fields(&serde_saphyr::from_str(text).map_err(malformed)?) {
            warn!(%field, "the record policy has an unknown field, which is ignored as kube-apiserver ignores it");
        }
        Ok(Self {
            rules: file.rules,
            allow_none,
        })
    }

    /// What applies where the configuration names no file.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED, false).expect("the shipped policy is valid, as a test shows")
    }

    /// The level of a call before it is judged; what is denied, held or fails is kept at `Metadata` at least.
    pub fn level(&self, attributes: &Attributes<'_>) -> Level {
        let rule = self.rules.iter().find(|rule| rule.matches(attributes));
        match rule.map_or(Level::None, |rule| rule.level()) {
            Level::None if !self.allow_none => Level::Metadata,
            level => level,
        }
    }
}

impl File {
    fn check(&self) -> Result<(), LevelError> {
        if self.api_version != "audit.k8s.io/v1" || self.kind != "Policy" {
            return Err(LevelError::Malformed(format!(
                "it says {} {}",
                self.api_version, self.kind
            )));
        }
        if self.rules.is_empty() {
            return Err(invalid(
                "rules",
                "a policy without rules records nothing; write at least one",
            ));
        }
        check_stages("omitStages", &self.omit_stages)?;
        self.rules
            .iter()
            .enumerate()
            .try_for_each(|(index, rule)| rule.check(&format!("rules[{index}]")))
    }
}

fn check_stages(field: &str, stages: &[String]) -> Result<(), LevelError> {
    let known = [
        "RequestReceived",
        "ResponseStarted",
        "ResponseComplete",
        "Panic",
    ];
    match stages.iter().find(|stage| !known.contains(&stage.as_str())) {
        Some(stage) => Err(invalid(
            field,
            &format!(
                "{stage:?} is not a stage; the stages are {}",
                known.join(", ")
            ),
        )),
        None => Ok(()),
    }
}

/// To Kubernetes a field without a value is an absent one.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn invalid(field: &str, message: &str) -> LevelError {
    LevelError::Invalid {
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
