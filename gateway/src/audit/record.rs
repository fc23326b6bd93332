//! One row of the `calls` table, as it is appended.
//!
//! Column names are the serialized names here. Where Kubernetes has a name, it is Kubernetes'.
//! A column that is not filled is absent in the JSON and null in Parquet; none is renamed later.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    identity::{AgentIdentity, CiRun, Entry, GenAi, Process, ProvenanceSource, UserInfo, Workload},
    mask::Masked,
};

/// The version of the columns and of the canonical encoding.
pub const SCHEMA_VERSION: i32 = 1;

/// `audit.k8s.io/v1` levels.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// `audit.k8s.io/v1` stages that we write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Stage {
    RequestReceived,
    ResponseComplete,
}

/// How a call ended, on the row of stage `ResponseComplete`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The whole response was delivered.
    Complete,
    /// It may have been carried out: no answer came, or none could be recorded.
    Unknown,
    /// The client left before the call was sent, or what had begun was cut; also an upgraded connection that did not
    /// end in order.
    Aborted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    Enforce,
    /// The decision is what policies would have made of the call, which was forwarded.
    Observe,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecisionKind {
    Allow,
    Deny,
    /// People must decide, or did not in time.
    Hold,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseComplete => "ResponseComplete",
        }
    }
}

impl Enforcement {
    /// Of the label `sallyport.dev/agents` of a namespace.
    pub fn of_label(value: &str) -> Option<Self> {
        [Self::Enforce, Self::Observe]
            .into_iter()
            .find(|known| known.as_str() == value)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unknown => "unknown",
            Self::Aborted => "aborted",
        }
    }
}

impl DecisionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

/// Where the bytes of a body are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyState {
    Inline,
    SideObject,
    DigestOnly,
}

impl BodyState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::SideObject => "side-object",
            Self::DigestOnly => "digest-only",
        }
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseStatus {
    pub code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Masked<String>>,
}

/// What people were asked about this call, and what they said.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Namespace and name of the ApprovalRequest, or the name of the BreakGlass.
    pub id: String,
    /// `pending`, `approved`, `denied`, `expired`, `withdrawn`, or why none was asked.
    pub state: &'static str,
    /// Whoever decided; several are separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// When this gateway knew.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_micros")]
    pub decided_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Masked<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// `sha256:<hex>` of what was shown to whoever decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_digest: Option<String>,
}

/// A Secret whose value passed in this call, by keyed digest of its data.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSeen {
    pub namespace: String,
    pub name: String,
    pub key_digest: String,
}

/// One append. `sequence`, `logID` and `recordDigest` are added by the log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub schema_version: i32,
    #[serde(rename = "auditID")]
    pub audit_id: String,
    #[serde(rename = "sessionID", skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// `Kubectl-Session`: one kubectl command. A hint, never authority.
    #[serde(rename = "stepID", skip_serializing_if = "Option::is_none")]
    pub step_id: Option<Masked<String>>,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(rename = "spanID", skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    pub node: String,

    #[serde(with = "micros")]
    pub request_received_timestamp: Timestamp,
    #[serde(with = "micros")]
    pub stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", with = "decimal")]
    pub duration_micros: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", with = "decimal")]
    pub held_micros: Option<i64>,

    pub level: Level,
    pub stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    pub entry: Entry,
    pub enforcement: Enforcement,

    pub verb: String,
    #[serde(rename = "requestURI")]
    pub request_uri: Masked<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Masked<String>>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserInfo>,
    /// The synthetic user the API server saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_user: Option<UserInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentIdentity>,
    #[serde(rename = "gen_ai", skip_serializing_if = "Option::is_none")]
    pub gen_ai: Option<GenAi>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cicd: Option<CiRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance_source: Option<ProvenanceSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Which process made the connection, where the kernel told in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionKind>,
    /// `<policy>/<rule>`, or the built-in rule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// A class of `low`, `medium`, `high` and `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risk_reasons: Vec<String>,
    /// A row of stage `RequestReceived` that has it is of a hold: its beginning or the decision. It says all that the
    /// intent says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<ResponseStatus>,
    #[serde(skip_serializing_if = "Option::is_none", with = "decimal")]
    pub request_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", with = "decimal")]
    pub response_bytes: Option<i64>,
    /// Items of a list, events of a watch, or calls folded into one record of their refusal.
    #[serde(skip_serializing_if = "Option::is_none", with = "decimal")]
    pub item_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_request: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_response: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets_seen: Vec<SecretSeen>,
    /// The digests of the placeholders in a masked answer, 1024 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub view_placeholders: Vec<String>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Masked<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Masked<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_state: Option<BodyState>,
    /// `hmac-sha256:<key id>:<hex>` of the body as it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_digest: Option<String>,
}

impl Record {
    /// The intent of a call of which nothing more is known: every other column is absent.
    pub fn received(
        audit_id: String,
        at: Timestamp,
        node: String,
        request_uri: Masked<String>,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            audit_id,
            session_id: None,
            step_id: None,
            trace_id: None,
            span_id: None,
            node,
            request_received_timestamp: at,
            stage_timestamp: at,
            duration_micros: None,
            held_micros: None,
            level: Level::Metadata,
            stage: Stage::RequestReceived,
            outcome: None,
            entry: Entry::Explicit,
            enforcement: Enforcement::Enforce,
            verb: String::new(),
            request_uri,
            user_agent: None,
            source_ips: Vec::new(),
            object_ref: None,
            user: None,
            upstream_user: None,
            agent: None,
            gen_ai: None,
            cicd: None,
            provenance_source: None,
            workload: None,
            process: None,
            decision: None,
            rule: None,
            policy_digest: None,
            risk: None,
            risk_reasons: Vec::new(),
            approval: None,
            response_status: None,
            request_bytes: None,
            response_bytes: None,
            item_count: None,
            masked_request: None,
            masked_response: None,
            secrets_seen: Vec::new(),
            view_placeholders: Vec::new(),
            request_object: None,
            response_object: None,
            body_state: None,
            request_digest: None,
            response_digest: None,
        }
    }
}

/// 64-bit integers are strings in the canonical form: RFC 8785 numbers are doubles.
mod decimal {
    use serde::{Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|number| number.to_string()).serialize(serializer)
    }
}

/// RFC 3339 with six fractional digits, so that equal times have equal bytes.
mod micros {
    use jiff::Timestamp;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.6}"))
    }
}

/// Likewise, where there is one.
mod optional_micros {
    use jiff::Timestamp;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::micros::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
pub(crate) mod sample;
