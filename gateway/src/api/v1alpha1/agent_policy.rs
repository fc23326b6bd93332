//! `AgentPolicy`: what agents may do.
//!
//! A policy names subjects and rules. All rules of all policies whose subject is the caller count, and the
//! strictest effect wins, so neither order nor file layout can weaken a policy; what no rule allows is denied.
//!
//! A rule selects either resource requests (`apiGroups`, `resources`, `namespaces` and `names`, all four) or
//! other paths (`nonResourceURLs`). Every list is required and must not be empty. As in RBAC, `"*"` matches
//! everything, a bare resource does not match its subresources, and group and resource are compared while the
//! version is not.
//!
//! - `namespaces`: `""` is cluster-scoped objects, as in an audit policy. A list over all namespaces needs `"*"`.
//!   A `Deny` for one namespace also denies reading or deleting over all of them.
//! - `names`: the name in the URL. A `Deny` for one name also denies requests without a name, which could read,
//!   delete or create the object: list, watch, deletecollection and create.
//! - `verbs`: exec, attach and port-forward come as `get` or as `create`, depending on the client, and are one
//!   action: a rule that names either is meant for both. One exception: an `Allow` of `get` counts only where
//!   `resources` names the subresource, as `pods/exec`, so that `get` of `"*"` is no shell. A server-side apply creates an
//!   object that is missing: it needs rules that allow `patch` and `create`, and a `Deny` of either denies it.
//!   A `Deny` of `create` also denies `update` of what Kubernetes creates on update: endpoints, events, leases,
//!   limitranges, RBAC's four, runtimeclasses and services. An `Allow` of `update` needs no `create` there,
//!   since the cluster's RBAC asks the synthetic user for it once an object turns out to be missing.
//! - A field that nobody knows is kept by the API server, so that a gateway sees it and refuses the policy: were it
//!   dropped, a rule without its misspelt `when` would match everything.
//! - A proxy, as `services/proxy`, passes on requests that nobody here can judge: an `Allow` counts only where
//!   `resources` names the subresource.
//! - What runs in a namespace that is no agents' namespace is out of the gateway's sight: pods, what makes them, kinds
//!   that Kubernetes does not define, exec, attach and port-forward need a rule that names the namespace, not `"*"`.
//! - `detectors` say what secrets of one's own look like. They add to what every gateway knows, for the records of all
//!   calls while the policy is in force; none takes anything away.
//! - `sensitiveFields` say where secrets of one's own stand: paths in objects of chosen resources, in the same way.
//! - `subjects`: where a captured pod presents a user's token instead of its own, an `Allow` counts only with a subject
//!   `workload`, which names both. What is restricted for either of them is restricted for the two.
//! - `when` and `unless` are CEL expressions over `request`, `user`, `workload`, `provenance`, `risk`, `object` and
//!   `oldObject`. Where one cannot be evaluated, an `Allow` does not match, and `Deny` and `RequireApproval` do.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matching::{OidcMatch, ServiceAccountMatch};

/// The most detectors of one policy.
pub const MAX_DETECTORS: usize = 64;

/// The most entries of `sensitiveFields` of one policy.
pub const MAX_SENSITIVE_FIELDS: usize = 64;
/// The most paths of one entry, and the most bytes of one path.
pub const MAX_SENSITIVE_PATHS: usize = 64;
pub const MAX_PATH_BYTES: usize = 1024;

/// The most subjects and the most rules of one policy.
pub const MAX_ITEMS: usize = 1000;

#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "sallyport.dev",
    version = "v1alpha1",
    kind = "AgentPolicy",
    plural = "agentpolicies",
    status = "AgentPolicyStatus"
)]
#[kube(
    derive = "PartialEq",
    doc = "What agents may do: rules that allow and deny, for the callers it names",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Accepted","type":"boolean","jsonPath":".status.accepted"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct AgentPolicySpec {
    /// The callers that the rules apply to; one that matches is enough.
    #[schemars(length(min = 1, max = "MAX_ITEMS"))]
    pub subjects: Vec<Subject>,
    /// Whether the rules count. Of those in `Audit` gateways only log and count which would have matched.
    #[serde(default, skip_serializing_if = "Mode::is_enforced")]
    pub mode: Mode,
    #[schemars(length(min = 1, max = "MAX_ITEMS"))]
    pub rules: Vec<Rule>,
    /// What secrets of one's own look like, beside those that every gateway knows: hidden in the records of all calls of
    /// all callers, and where an agent sees secrets masked, in any mode.
    #[schemars(length(max = "MAX_DETECTORS"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// Fields whose values are secret, whatever they look like: hidden where detectors hide, while the policy is in force.
    #[schemars(length(max = "MAX_SENSITIVE_FIELDS"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitive_fields: Vec<SensitiveFields>,
}

/// A secret that begins with a fixed text.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Detector {
    /// Unique in the policy.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// How every such secret begins, with its case; ASCII alone.
    #[schemars(length(min = 4, max = 64))]
    pub prefix: String,
    /// What follows: single characters and ranges, as `A-Za-z0-9_-`.
    #[schemars(length(min = 1, max = 128))]
    pub characters: String,
    /// How many of them follow at least.
    #[schemars(range(min = 8, max = 4096), extend("format" = "int32"))]
    pub length: u16,
    /// What must be true of them besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Texts with such a secret in them, made up: the policy is refused where the detector finds none.
    #[schemars(length(min = 1, max = 16), inner(length(max = 8192)))]
    pub must_match: Vec<String>,
    /// Texts that look like one and are none: the policy is refused where the detector finds one.
    #[schemars(length(min = 1, max = 16), inner(length(max = 8192)))]
    pub must_not_match: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Check {
    /// They look as if nobody could have chosen them: digits and letters in no order.
    LooksRandom,
}

/// Some fields of some objects. Every list is required and must not be empty; `"*"` matches everything.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct SensitiveFields {
    /// API groups without version, `""` for the core group, or `"*"`.
    #[schemars(length(min = 1))]
    pub api_groups: Vec<String>,
    /// The plural, as in the URL, or `"*"`. The subresources of each count too.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub resources: Vec<String>,
    /// Namespaces, `""` for cluster-scoped objects, or `"*"` for both.
    #[schemars(length(min = 1))]
    pub namespaces: Vec<String>,
    /// Names of objects, or `"*"` for all.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub names: Vec<String>,
    /// As kubectl writes a JSONPath: `.spec.data[*].value`, `.data['tls.key']`, `.data.*`. All that is at or below one is
    /// hidden.
    #[schemars(
        length(min = 1, max = "MAX_SENSITIVE_PATHS"),
        inner(length(min = 1, max = "MAX_PATH_BYTES"))
    )]
    pub paths: Vec<String>,
}

/// What the controller makes of it, for people's eyes: gateways judge for themselves.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPolicyStatus {
    /// Whether its rules count. Where they do not, gateways keep the last policies that were all right.
    pub accepted: bool,
    /// How many rules it has, or everything that is wrong with it.
    pub message: String,
    /// The generation that this is said of; nothing is said yet of a later one.
    pub observed_generation: i64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mode {
    #[default]
    Enforce,
    Audit,
}

impl Mode {
    fn is_enforced(&self) -> bool {
        *self == Self::Enforce
    }
}

/// Exactly one way to recognize a caller.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub enum Subject {
    ServiceAccount(ServiceAccountMatch),
    Oidc(OidcMatch),
    Agent(AgentSubject),
    /// Whoever presents a user's token out of a captured pod.
    Workload(WorkloadSubject),
    /// Every authenticated caller; the only value is `"*"`.
    All(Everyone),
}

impl Subject {
    /// The claims that the caller's token must have.
    pub fn oidc(&self) -> Option<&OidcMatch> {
        match self {
            Self::Oidc(oidc) => Some(oidc),
            Self::Workload(workload) => workload.oidc.as_ref(),
            Self::ServiceAccount(_) | Self::Agent(_) | Self::All(_) => None,
        }
    }
}

/// A pod, and whose token comes out of it: exactly one of `oidc` and `agent`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-validations" = [{
    "rule": "has(self.oidc) != has(self.agent)",
    "message": "a workload names its user by either oidc or agent",
}]))]
pub struct WorkloadSubject {
    /// The pod's, as the kernel saw the pod.
    pub service_account: ServiceAccountMatch,
    /// The token's issuer and claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcMatch>,
    /// The agent that the token's claims make of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentSubject>,
}

/// An agent by the name that an `Agent` object or a verified claim gives it, never one it gave itself.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct AgentSubject {
    /// The agent's name, or `"*"` for every agent that has one.
    #[schemars(length(min = 1))]
    pub name: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Everyone {
    #[serde(rename = "*")]
    Any,
}

/// Some requests, and what becomes of them.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "x-kubernetes-validations" = [{
    "rule": "has(self.nonResourceURLs) ? !has(self.apiGroups) && !has(self.resources) && !has(self.namespaces) && !has(self.names) : has(self.apiGroups) && has(self.resources) && has(self.namespaces) && has(self.names)",
    "message": "a rule has either apiGroups, resources, namespaces and names, or nonResourceURLs",
}, {
    "rule": "!has(self.approval) || self.effect == 'RequireApproval'",
    "message": "approval belongs to effect RequireApproval",
}, {
    "rule": "!has(self.secretReferences) || has(self.agentView) && self.agentView == 'Masked'",
    "message": "secretReferences belongs to agentView Masked",
}, {
    "rule": "!has(self.helmManifests) || has(self.agentView) && self.agentView == 'Masked'",
    "message": "helmManifests belongs to agentView Masked",
}]))]
pub struct Rule {
    /// Names the rule in records and in messages to denied callers; unique in the policy.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    pub effect: Effect,
    /// Kubernetes' verbs, or `"*"`.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub verbs: Vec<String>,
    /// API groups without version, `""` for the core group, or `"*"`.
    #[schemars(length(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_groups: Option<Vec<String>>,
    /// `pods`, `pods/log`, `*/scale`, or `"*"` for all with their subresources.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Namespaces, `""` for cluster-scoped objects, or `"*"` for both.
    #[schemars(length(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Names of objects, or `"*"` for all, also where the request names none.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Paths outside the resource API; `*` at the end matches any rest.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    #[serde(
        default,
        rename = "nonResourceURLs",
        skip_serializing_if = "Option::is_none"
    )]
    pub non_resource_urls: Option<Vec<String>>,
    /// Shown to the caller that this rule denies, and to who decides on its call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A CEL expression: the rule matches only where it is true.
    #[schemars(length(min = 1, max = "MAX_EXPRESSION"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// A CEL expression: the rule does not match where it is true.
    #[schemars(length(min = 1, max = "MAX_EXPRESSION"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// Shown as a warning to the caller of what passes, but for upgraded connections; one line.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<String>,
    /// What the agent sees of secrets in the answer. Of several rules that match, `Masked` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_view: Option<AgentView>,
    /// Whether a pod may be given the Secrets that the rule shows only masked: `Deny` where absent. Whoever makes the pod
    /// can have it print them. Of several rules that match, `Deny` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_references: Option<SecretReferences>,
    /// Whether releases of helm's in the answer have their manifests, each object of them masked as it would be by
    /// itself: `Hide` where absent. Charts put secrets into other objects than Secrets too, where only detectors and
    /// `sensitiveFields` find them. Of several rules that match, `Hide` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_manifests: Option<HelmManifests>,
    /// Records at least this much of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordLevel>,
    /// Bounds of a watch, a followed log, or an upgraded connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamLimits>,
    /// Who decides, and how, where the effect is `RequireApproval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalTerms>,
}

/// The longest CEL expression, in bytes.
pub const MAX_EXPRESSION: usize = 4096;

#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Effect {
    Allow,
    Deny,
    /// Held until a person has decided.
    RequireApproval,
}

#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum AgentView {
    #[default]
    Clear,
    /// Placeholders in the place of secret values.
    Masked,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SecretReferences {
    #[default]
    Deny,
    /// What the agent makes runs with values that the agent itself does not see.
    Allow,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum HelmManifests {
    #[default]
    Hide,
    /// Then helm upgrades and removes what it installed.
    Show,
}

#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum RecordLevel {
    Metadata,
    Request,
    RequestResponse,
}

/// Each as `30s`, `10m` or `2h`. Of several rules that match, the shortest counts.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct StreamLimits {
    /// Ends when nothing has passed for so long.
    #[schemars(regex(pattern = r"^[1-9][0-9]*(s|m|h)$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// Ends after so long.
    #[schemars(regex(pattern = r"^[1-9][0-9]*(s|m|h)$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

/// Of several rules that match, each condition is the strictest.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ApprovalTerms {
    /// Who may decide must be in one of these groups; anyone whom RBAC lets where there are none.
    #[schemars(length(max = 16), inner(length(min = 1)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// How many people must approve; 1 where absent.
    #[schemars(range(min = 1, max = 2), extend("format" = "int32"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<u8>,
    /// How long the call is held: `50s` where absent, at most `30m`. Afterwards it is answered that a decision is
    /// pending, and the same call again passes once it is approved.
    #[schemars(regex(pattern = r"^[0-9]+(s|m)$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// How long it may be decided and used: `15m` where absent, at most `24h`.
    #[schemars(regex(pattern = r"^[1-9][0-9]*(s|m|h)$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// By which ways a decision may come; `Kubernetes` and `Console` where there are none.
    #[schemars(length(max = 3))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// What a decision may be given for; `Once` alone where there are none.
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
}

/// The way by which a decision came.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Channel {
    /// Whoever decides wrote the decision with their own credential.
    Kubernetes,
    Console,
    /// A signed callback, such as a chat's button.
    Webhook,
}

/// What a decision is given for.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum Scope {
    /// This call, once.
    #[default]
    Once,
    /// The same call again, until the approval expires.
    SameRequest,
    /// The rest of this kubectl command: the same rule and namespace, for two minutes.
    Command,
    /// This rule for the rest of the session.
    Session,
}
