//! `BreakGlass`: what agents may do for a quarter of an hour although policies deny it, since two people want it.
//!
//! One person makes it, and another one votes for it. From then on every gateway that hears of it lets pass what
//! policies deny or hold, until its time is over or somebody closes it. Votes only grow, and a closing is final. Nobody
//! takes one back into force: a second emergency has a second object.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{agent_policy::Channel, approval_request::Vote};

mod definition;

pub use self::definition::definition;

/// The longest that one is open.
pub const LONGEST: u16 = 15 * 60;
/// How long a second person may be waited for.
pub const WAITS: SignedDuration = SignedDuration::from_mins(15);

#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "BreakGlass",
    plural = "breakglasses",
    status = "BreakGlassStatus",
    derive = "PartialEq",
    doc = "Lets agents do for a while what policies deny, once a second person wants it too",
    printcolumn = r#"{"name":"Agents","type":"string","jsonPath":".spec.agents"}"#,
    printcolumn = r#"{"name":"Namespaces","type":"string","jsonPath":".spec.namespaces"}"#,
    printcolumn = r#"{"name":"By","type":"string","jsonPath":".spec.by"}"#,
    printcolumn = r#"{"name":"Voted","type":"string","jsonPath":".status.votes[*].by"}"#,
    printcolumn = r#"{"name":"Closed","type":"string","jsonPath":".status.closed.by"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BreakGlassSpec {
    /// An agent's name, a ServiceAccount as `system:serviceaccount:<namespace>:<name>`, or a user as records name it;
    /// `"*"` for every agent.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub agents: Vec<String>,
    /// `"*"` for all, and for what is in no namespace.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Kept in the record.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// How long it is open, from the second person's vote on.
    #[schemars(range(min = 1, max = 900), extend("format" = "int32"))]
    #[serde(default = "longest")]
    pub duration_seconds: u16,
    /// Who asks for it: the user that made the object, which admission checks.
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
    pub via: Channel,
    /// What nobody knows how to read, such as a bound under a misspelt name: then it opens nothing. It is kept and not
    /// refused, so that people can list the object and the controller can delete it.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BreakGlassStatus {
    #[schemars(length(max = 8))]
    pub votes: Vec<Vote>,
    /// Whatever the votes say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
}

/// Who ended it before its time, or before anybody voted for it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
    pub via: Channel,
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

fn longest() -> u16 {
    LONGEST
}
