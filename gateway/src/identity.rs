//! Who is calling: the verified user, the pod behind the connection, and where each claim about the
//! agent comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{api::names::AGENT_LABEL, request_info::RequestInfo};

/// Kubernetes' `UserInfo`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct UserInfo {
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A pod with what we know of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Workload {
    pub namespace: String,
    pub pod: String,
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    pub service_account: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_image_digests: Vec<String>,
}

impl Workload {
    /// Of a captured pod: its namespace is an agents' one for certain. Where its own label makes it an agent, nothing is
    /// known of the namespace.
    pub fn is_agent_by_namespace(&self) -> bool {
        self.labels
            .get(AGENT_LABEL)
            .is_none_or(|value| value != "true")
    }
}

/// The process that made a connection, as the kernel tells: its number on the node, and its program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    pub pid: i32,
    /// Absent where it had ended before it was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// Where a provenance value comes from, strongest first. Policy may use all but the last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    LlmReceipt,
    OidcClaim,
    /// An `Agent` object, or an annotation that agents cannot write.
    OperatorDeclared,
    /// Headers and annotations that the agent itself could set.
    SelfDeclared,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LlmReceipt => "llm-receipt",
            Self::OidcClaim => "oidc-claim",
            Self::OperatorDeclared => "operator-declared",
            Self::SelfDeclared => "self-declared",
        }
    }
}

/// Which agent this is.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct AgentIdentity {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(rename = "instanceID", skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// The model that drives the agent, under OpenTelemetry's GenAI names.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct GenAi {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
}

/// The CI job that runs the agent, from verified claims.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CiRun {
    pub provider: String,
    pub repository: String,
    pub repository_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<String>,
    pub run_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// The source of each group of provenance values; absent where there is no value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ProvenanceSource {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<Source>,
}

/// What is known of the agent beyond its credential.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Provenance {
    pub agent: Option<AgentIdentity>,
    pub gen_ai: Option<GenAi>,
    pub cicd: Option<CiRun>,
    pub source: ProvenanceSource,
}

/// How the request reached the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// Redirected out of a pod by the kernel programs.
    Captured,
    /// Sent to the gateway's own address with a kubeconfig that names it.
    Explicit,
}

impl Entry {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Explicit => "explicit",
        }
    }
}

/// One authenticated caller. Made only by `authn`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// As the credential says: `system:serviceaccount:<namespace>:<name>`, or `<issuer>:<sub>`.
    pub user: UserInfo,
    /// Whom the API server sees: `sallyport:sa:<namespace>:<name>` or `sallyport:oidc:<issuer>:<sub>`.
    pub upstream_user: UserInfo,
    /// The configured alias of the OIDC issuer; `None` for ServiceAccounts.
    pub issuer: Option<String>,
    /// The verified token's claims as text: the one value of a string, number or boolean, or those of a list.
    /// Never empty, without nested objects and lists. Policy subjects match on these.
    pub claims: BTreeMap<String, Vec<String>>,
    /// The pod that a ServiceAccount token is bound to, or that the kernel saw an OIDC token come out of.
    pub workload: Option<Workload>,
    /// Which agent is declared for the ServiceAccount of [`Self::pod_of_user`]. It is for what takes away alone: what is
    /// restricted for that agent is restricted for whoever calls out of its pods.
    pub pod_agent: Option<String>,
    pub provenance: Provenance,
    /// CI run and attempt, else pod UID, prefixed by the principal; `None` where neither is known.
    pub session_id: Option<String>,
}

impl Identity {
    /// With nothing known beside the user.
    pub fn of(user: UserInfo) -> Self {
        Self {
            user,
            upstream_user: UserInfo::default(),
            issuer: None,
            claims: BTreeMap::new(),
            workload: None,
            pod_agent: None,
            provenance: Provenance::default(),
            session_id: None,
        }
    }

    /// Whoever can make as many users as it likes: by ServiceAccounts, or by branches, of which each is a subject.
    pub fn tenant(&self) -> Option<String> {
        if let Some(ci) = &self.provenance.cicd {
            return Some(format!("{}/{}", ci.provider, ci.repository_id));
        }
        let account = self.user.username.strip_prefix("system:serviceaccount:")?;
        let (namespace, _) = account.split_once(':')?;
        Some(format!("namespace/{namespace}"))
    }

    /// The captured pod out of which a user's token came: the caller is the two together.
    pub fn pod_of_user(&self) -> Option<&Workload> {
        self.workload.as_ref().filter(|_| self.issuer.is_some())
    }
}

/// The only input of policy: Kubernetes' authorizer attributes with our identity.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub identity: &'a Identity,
    pub request: &'a RequestInfo,
    /// The body is a server-side apply ([`RequestInfo::is_apply`]), which creates an object that is missing.
    pub applies: bool,
    /// The API server would store nothing. Policy judges it as if it did.
    pub dry_run: bool,
    /// Every pod in the request's namespace is an agent, so one that is made there is no way around the gateway.
    pub namespace_is_agents: bool,
    /// kube-apiserver serves the resource itself and passes it on to nobody. False where that is not known.
    pub is_served_locally: bool,
}

impl<'a> Attributes<'a> {
    /// Of a request that says nothing beyond its method and target.
    pub fn new(identity: &'a Identity, request: &'a RequestInfo) -> Self {
        Self {
            identity,
            request,
            applies: false,
            dry_run: request.is_dry_run(),
            namespace_is_agents: false,
            is_served_locally: false,
        }
    }

    /// Of a read by the same caller, in the same namespace, that this request amounts to.
    pub fn reading(self, request: &'a RequestInfo) -> Self {
        Self {
            request,
            applies: false,
            dry_run: false,
            ..self
        }
    }
}
