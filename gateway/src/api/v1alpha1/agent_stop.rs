//! `AgentStop`: agents that may do nothing, until the object is deleted.
//!
//! Every gateway watches these objects. While one exists, new calls of whom it names are denied, what is open ends,
//! and what is held is refused.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "AgentStop",
    plural = "agentstops",
    derive = "PartialEq",
    doc = "Stops agents at once on every gateway, until it is deleted",
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".spec.target.agent"}"#,
    printcolumn = r#"{"name":"Session","type":"string","jsonPath":".spec.target.session"}"#,
    printcolumn = r#"{"name":"By","type":"string","jsonPath":".spec.by"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self == oldSelf",
    "message": "a stop is not changed: delete it and make another",
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
