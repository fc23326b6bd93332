//! `NodeCoverage`: what a node agent observed of its pods. Written by the node agent alone, read by
//! `sallyport coverage` and `sallyport discover`.

use std::fmt;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Empty: nobody asks a node for coverage. The object's name is the Node's.
#[derive(
    Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "NodeCoverage",
    plural = "nodecoverages",
    status = "NodeCoverageStatus",
    derive = "PartialEq",
    doc = "What the node agent of one node observed: which pods are captured, and why others are not",
    printcolumn = r#"{"name":"Captured","type":"integer","jsonPath":".status.captured"}"#,
    printcolumn = r#"{"name":"Denied","type":"integer","jsonPath":".status.denied"}"#,
    printcolumn = r#"{"name":"Needs-Recreate","type":"integer","jsonPath":".status.needsRecreate"}"#,
    printcolumn = r#"{"name":"Unknown","type":"integer","jsonPath":".status.unknown"}"#,
    printcolumn = r#"{"name":"Observed","type":"date","jsonPath":".status.observedAt"}"#
)]
pub struct NodeCoverageSpec {}

#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCoverageStatus {
    /// When the node agent last saw that this is so. It is renewed every 30 seconds; an old one says nothing.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub observed_at: Timestamp,
    /// Since when connections to the API server are counted on this node.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub counted_since: Timestamp,
    /// The version of the node agent.
    pub version: String,
    pub captured: i32,
    pub denied: i32,
    pub exempt: i32,
    pub needs_recreate: i32,
    pub unknown: i32,
    /// What is wrong on the node as a whole.
    #[serde(default)]
    pub problems: Vec<String>,
    #[serde(default)]
    pub pods: Vec<PodCoverage>,
}

/// One pod, as last observed.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCoverage {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub service_account: String,
    /// The object that made the pod, a Deployment's ReplicaSet being the Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    pub state: CoverageState,
    /// Why it is so, for a person.
    pub reason: String,
    /// How often the pod connected to the API server, captured or not.
    pub api_connections: i64,
}

#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

/// Where a pod's connections to the API server end.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum CoverageState {
    /// At the gateway, as a test connection showed.
    Captured,
    /// Nowhere: the pod is an agent that cannot be served.
    Denied,
    /// At the API server: the pod is no agent.
    Exempt,
    /// At the gateway, which refuses it: the pod was made before its namespace was an agents' namespace.
    NeedsRecreate,
    /// Nobody has seen it lately.
    Unknown,
}

impl CoverageState {
    pub const ALL: [Self; 5] = [
        Self::Captured,
        Self::Denied,
        Self::Exempt,
        Self::NeedsRecreate,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Denied => "denied",
            Self::Exempt => "exempt",
            Self::NeedsRecreate => "needs-recreate",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CoverageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
