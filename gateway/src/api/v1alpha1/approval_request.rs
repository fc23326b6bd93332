//! `ApprovalRequest`: a call that waits for people to decide.
//!
//! A gateway makes one in the namespace of the call's target, and nobody changes its spec. People append to
//! `status.votes`; a gateway appends to `status.uses` before it forwards the call. Both lists only grow: an entry is
//! final, and the API server's compare-and-swap decides between two that come at once.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent_policy::{Channel, Scope};

mod definition;

pub use self::definition::definition;

/// The most calls that one approval lets pass.
pub const MOST_USES: usize = 64;
/// Of those, the most of one kubectl command.
const MOST_OF_COMMAND: usize = 20;

/// How many calls an approval of this scope lets pass.
pub fn most_uses(scope: Scope) -> usize {
    match scope {
        Scope::Once => 1,
        Scope::Command => MOST_OF_COMMAND,
        Scope::SameRequest | Scope::Session => MOST_USES,
    }
}

#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "ApprovalRequest",
    plural = "approvalrequests",
    shortname = "apr",
    namespaced,
    status = "ApprovalRequestStatus",
    derive = "PartialEq",
    doc = "A call that waits for people to decide",
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".spec.requester.agent"}"#,
    printcolumn = r#"{"name":"Call","type":"string","jsonPath":".spec.call.summary"}"#,
    printcolumn = r#"{"name":"Risk","type":"string","jsonPath":".spec.risk.level"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestSpec {
    pub requester: Requester,
    /// `sha256:<hex>` of the canonical call: what is approved is this and nothing else.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Judged by the gateway's own clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    pub call: Call,
    /// `<policy>/<rule>`, the first where several ask for approval.
    pub rule: String,
    /// All that ask. What is approved for several calls is for calls of these alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    pub policy_digest: String,
    pub risk: Risk,
    pub terms: Terms,
    /// The audit id of the call as it came.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// Why it must be decided, in the words of the rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What would change, masked: a unified diff of YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The request's object, masked, where there is no diff; of a deletion, its options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl ApprovalRequest {
    /// Whether no person has said anything of it.
    pub fn has_no_votes(&self) -> bool {
        self.status
            .as_ref()
            .is_none_or(|status| status.votes.is_empty())
    }
}

/// How it is decided: the strictest of all rules that ask for approval.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Whoever decides is in one group of each list.
    #[schemars(length(max = 16), inner(length(max = 16), inner(length(max = 256))))]
    #[serde(default)]
    pub groups: Vec<Vec<String>>,
    /// How many people must approve.
    #[schemars(range(min = 1, max = 8), extend("format" = "int32"))]
    pub people: u8,
    #[schemars(length(max = 3))]
    pub channels: Vec<Channel>,
    /// `Once` is always among them.
    #[schemars(length(max = 4))]
    pub scopes: Vec<Scope>,
}

/// Who asks, and who vouches for each part.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// As the agent's own credential says.
    #[schemars(length(min = 1, max = 512))]
    pub username: String,
    /// The synthetic user that the API server sees.
    #[schemars(length(min = 1, max = 512))]
    pub upstream_user: String,
    /// People behind the agent, where claims tell: they may not decide.
    #[schemars(length(max = 16), inner(length(max = 512)))]
    #[serde(default)]
    pub humans: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// kubectl's id of one command: a hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The call in a person's words and in Kubernetes'.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Call {
    /// As in `patch deployments.apps/web in namespace shop`.
    pub summary: String,
    pub verb: String,
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Of an exec, whole and masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// The query's other parameters, masked, as in `container=web`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<String>,
    /// Method, path and query as they came, masked, of what goes to another program or is no resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
}

#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    pub level: RiskLevel,
    /// In plain words.
    #[serde(default)]
    pub reasons: Vec<String>,
}

#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum RiskLevel {
    Low,
    Medium,
    High,
    Critical,
}

impl RiskLevel {
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As in records and expressions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ApprovalRequestStatus {
    /// For people's eyes; gateways judge by the lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[schemars(length(max = 8))]
    pub votes: Vec<Vote>,
    #[schemars(length(max = "MOST_USES"))]
    pub uses: Vec<Use>,
    /// Nobody waits any more: the client left before a decision.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
    /// When the controller had told every webhook of it that is to be told.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum State {
    Pending,
    Approved,
    Denied,
    Used,
    Expired,
    Withdrawn,
}

/// One person's decision.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    pub result: Verdict,
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
    pub via: Channel,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default)]
    pub scope: Scope,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Verdict {
    Approved,
    Denied,
}

/// One call that was forwarded on the strength of the votes.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    #[schemars(length(max = 253))]
    pub gateway: String,
    /// Of the call, so each is another.
    #[schemars(length(max = 64))]
    #[serde(rename = "auditID")]
    pub audit_id: String,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}
