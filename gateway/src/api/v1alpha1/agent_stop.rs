//! `AgentStop`: agents that may do nothing, until somebody resumes them.
//!
//! Every gateway watches these objects. While one is in force, new calls of whom it names are denied, what is open ends,
//! and what is held is refused. Its status says who ended it; without one, deleting the object ends it too.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "AgentStop",
    plural = "agentstops",
    status = "AgentStopStatus",
    derive = "PartialEq",
    doc = "Stops agents at once on every gateway, until somebody resumes them",
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".spec.target.agent"}"#,
    printcolumn = r#"{"name":"Session","type":"string","jsonPath":".spec.target.session"}"#,
    printcolumn = r#"{"name":"By","type":"string","jsonPath":".spec.by"}"#,
    printcolumn = r#"{"name":"Resumed","type":"string","jsonPath":".status.resumed.by"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self == oldSelf",
    "message": "a stop is not changed: resume it and make another",
}]))]
pub struct AgentStopSpec {
    pub target: StopTarget,
    /// Shown to the agent and kept in the record.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Who stopped it: the user that made the object, which admission checks.
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentStopStatus {
    /// The stop is not in force any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
}

/// Who lets the agents go on.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// The user that wrote it, which admission checks.
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Kept in the record.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AgentStop {
    /// Who lifted it; `None` while it is in force.
    pub fn resumed(&self) -> Option<&Resumed> {
        self.status.as_ref()?.resumed.as_ref()
    }
}

/// Whom a stop is for: exactly one.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StopTarget {
    /// An agent's name, a ServiceAccount as `system:serviceaccount:<namespace>:<name>`, or a user as records name it.
    Agent(String),
    /// A session's id, as records have it.
    Session(String),
    All(Everyone),
}

pub use super::agent_policy::Everyone;
