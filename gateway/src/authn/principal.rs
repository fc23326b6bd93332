//! From a verified credential to the [`Identity`] that the rest of the gateway works with.

use k8s_openapi::api::authentication::v1 as kubernetes;

use crate::{
    config::OidcIssuer,
    identity::{CiRun, GenAi, Identity, Provenance, ProvenanceSource, Source, UserInfo, Workload},
};

use super::{
    Unauthenticated,
    agents::{AgentSet, Subject},
    ci::{TextClaims, ci_run, run_name, single, text_claims},
    upstream_user::{service_account_user, upstream_user},
    verify::VerifiedToken,
};

/// OpenID Connect Core 1.0 section 2: a `sub` has at most 255 ASCII characters.
const MAX_SUBJECT_BYTES: usize = 255;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// What a credential proves, before `Agent` objects are asked what they know of it.
#[derive(Debug)]
pub(super) struct Principal {
    credential: Credential,
    user: UserInfo,
    claims: TextClaims,
}

#[derive(Debug)]
enum Credential {
    ServiceAccount {
        namespace: String,
        name: String,
        workload: Option<Workload>,
    },
    Oidc {
        issuer: String,
        subject: String,
        cicd: Option<CiRun>,
        model: Option<GenAi>,
    },
}

impl Principal {
    /// Of a ServiceAccount token that the API server has just accepted.
    pub(super) fn service_account(
        token: &VerifiedToken,
        reviewed: kubernetes::UserInfo,
    ) -> Result<Self, Unauthenticated> {
        let user = user_info(reviewed);
        // Both views of one token; if they differ, one of them is not about this token.
        if user.username != token.subject {
            return Err(Unauthenticated::RefusedByAuthority);
        }
        let (namespace, name) =
            service_account_name(&user.username).ok_or(Unauthenticated::UnusableSubject)?;
        let credential = Credential::ServiceAccount {
            workload: workload(&user, namespace, name),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Ok(Self {
            credential,
            user,
            claims: text_claims(&token.claims),
        })
    }

    /// Of a token that a configured OIDC issuer has signed.
    pub(super) fn oidc(
        token: &VerifiedToken,
        issuer: &OidcIssuer,
    ) -> Result<Self, Unauthenticated> {
        check_subject(&token.subject)?;
        let claims = text_claims(&token.claims);
        let credential = Credential::Oidc {
            issuer: issuer.name.clone(),
            subject: token.subject.clone(),
            cicd: ci_run(issuer.preset, &claims)?,
            model: claimed_model(issuer, &claims),
        };
        let user = UserInfo {
            username: format!("{}:{}", issuer.name, token.subject),
            ..UserInfo::default()
        };
        Ok(Self {
            credential,
            user,
            claims,
        })
    }

    pub(super) fn is_service_account(&self) -> bool {
        matches!(self.credential, Credential::ServiceAccount { .. })
    }

    /// Of a ServiceAccount token that is bound to a pod.
    pub(super) fn user_of_pod(&self) -> Option<UserInfo> {
        self.workload().map(|_| self.user.clone())
    }

    /// Whether the token is bound to the pod that the kernel saw. Anything else is a token in the wrong hands.
    pub(super) fn check_pod(&self, connected: &Workload) -> Result<(), Unauthenticated> {
        let Some(bound) = self.workload() else {
            return Err(Unauthenticated::NotBoundToPod);
        };
        let is_same = bound.pod_uid == connected.pod_uid
            && bound.namespace == connected.namespace
            && bound.service_account == connected.service_account;
        match is_same {
            true => Ok(()),
            false => Err(Unauthenticated::PodMismatch(Box::new(self.user.clone()))),
        }
    }

    /// The caller as everything behind sees it, in the pod that the kernel saw; `gateway` is the name that the API
    /// server's log shows.
    pub(super) fn identity(
        &self,
        agents: &AgentSet,
        gateway: &str,
        pod: Option<&Workload>,
    ) -> Result<Identity, Unauthenticated> {
        let pod = pod.or_else(|| self.workload());
        let provenance = self.provenance(agents, pod)?;
        let session_id = self
            .piece_of_work(pod)
            .map(|work| format!("{}/{work}", self.user.username));
        Ok(Identity {
            upstream_user: upstream_user(
                self.upstream_name(),
                &provenance,
                session_id.as_deref(),
                gateway,
            ),
            user: self.user.clone(),
            issuer: self.issuer().map(str::to_owned),
            claims: self.claims.clone(),
            workload: pod.cloned(),
            pod_agent: self.pod_agent(agents, pod)?,
            provenance,
            session_id,
        })
    }

    fn provenance(
        &self,
        agents: &AgentSet,
        pod: Option<&Workload>,
    ) -> Result<Provenance, Unauthenticated> {
        let agent = agents.resolve(self.subject())?;
        let (model, model_source) =
            match (self.claimed_model(), agent.and_then(|agent| agent.model())) {
                (Some(claimed), _) => (Some(claimed.clone()), Some(Source::OidcClaim)),
                (None, Some(declared)) => (Some(declared), Some(Source::OperatorDeclared)),
                (None, None) => (None, None),
            };
        Ok(Provenance {
            agent: agent.map(|agent| agent.identity(self.piece_of_work(pod))),
            gen_ai: model,
            cicd: self.cicd().cloned(),
            source: ProvenanceSource {
                agent: agent.map(|_| Source::OperatorDeclared),
                model: model_source,
                ci: self.cicd().map(|_| Source::OidcClaim),
                human: None,
            },
        })
    }

    /// The agent that the pod's own token would be of, where this is a user's.
    fn pod_agent(
        &self,
        agents: &AgentSet,
        pod: Option<&Workload>,
    ) -> Result<Option<String>, Unauthenticated> {
        let Some(pod) = pod.filter(|_| !self.is_service_account()) else {
            return Ok(None);
        };
        let agent = agents.resolve(Subject::ServiceAccount {
            namespace: &pod.namespace,
            name: &pod.service_account,
        })?;
        Ok(agent.map(|agent| agent.identity(None).name))
    }

    fn subject(&self) -> Subject<'_> {
        match &self.credential {
            Credential::ServiceAccount {
                namespace, name, ..
            } => Subject::ServiceAccount { namespace, name },
            Credential::Oidc { issuer, .. } => Subject::Oidc {
                issuer,
                claims: &self.claims,
            },
        }
    }

    fn upstream_name(&self) -> String {
        match &self.credential {
            Credential::ServiceAccount {
                namespace, name, ..
            } => service_account_user(namespace, name),
            Credential::Oidc {
                issuer, subject, ..
            } => format!("sallyport:oidc:{issuer}:{subject}"),
        }
    }

    /// The CI run and attempt, or the pod.
    fn piece_of_work(&self, pod: Option<&Workload>) -> Option<String> {
        self.cicd()
            .map(run_name)
            .or_else(|| pod.map(|pod| pod.pod_uid.clone()))
    }

    fn issuer(&self) -> Option<&str> {
        match &self.credential {
            Credential::Oidc { issuer, .. } => Some(issuer),
            Credential::ServiceAccount { .. } => None,
        }
    }

    fn workload(&self) -> Option<&Workload> {
        match &self.credential {
            Credential::ServiceAccount { workload, .. } => workload.as_ref(),
            Credential::Oidc { .. } => None,
        }
    }

    fn cicd(&self) -> Option<&CiRun> {
        match &self.credential {
            Credential::Oidc { cicd, .. } => cicd.as_ref(),
            Credential::ServiceAccount { .. } => None,
        }
    }

    fn claimed_model(&self) -> Option<&GenAi> {
        match &self.credential {
            Credential::Oidc { model, .. } => model.as_ref(),
            Credential::ServiceAccount { .. } => None,
        }
    }
}

/// The same of a token that only the cluster's keys have verified: its claims name the pod.
pub(super) fn claimed_user_of_pod(token: &VerifiedToken) -> Option<UserInfo> {
    service_account_name(&token.subject)?;
    let pod = token.claims.get("kubernetes.io")?.get("pod")?;
    let claim = |name: &str| Some(vec![pod.get(name)?.as_str()?.to_owned()]);
    let extra = [(POD_NAME, claim("name")?), (POD_UID, claim("uid")?)];
    Some(UserInfo {
        username: token.subject.clone(),
        extra: extra.map(|(key, value)| (key.to_owned(), value)).into(),
        ..UserInfo::default()
    })
}

/// The name goes into an `Impersonate-User` header, where a server trims spaces at either end, so two
/// subjects could become one.
fn check_subject(subject: &str) -> Result<(), Unauthenticated> {
    let printable = subject.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if subject.is_empty()
        || subject.len() > MAX_SUBJECT_BYTES
        || !printable
        || subject.trim() != subject
    {
        return Err(Unauthenticated::UnusableSubject);
    }
    Ok(())
}

fn claimed_model(issuer: &OidcIssuer, claims: &TextClaims) -> Option<GenAi> {
    let value = |claim: &Option<String>| single(claims, claim.as_ref()?).cloned();
    value(&issuer.model_claim).map(|model| GenAi {
        request_model: Some(model),
        model_version: value(&issuer.model_version_claim),
        ..GenAi::default()
    })
}

fn user_info(reviewed: kubernetes::UserInfo) -> UserInfo {
    UserInfo {
        username: reviewed.username.unwrap_or_default(),
        uid: reviewed.uid.filter(|uid| !uid.is_empty()),
        groups: reviewed.groups.unwrap_or_default(),
        extra: reviewed.extra.unwrap_or_default(),
    }
}

fn service_account_name(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':')
    };
    (plain(namespace) && plain(name)).then_some((namespace, name))
}

/// The pod that the token is bound to; `kubectl create token` makes tokens without one.
fn workload(user: &UserInfo, namespace: &str, service_account: &str) -> Option<Workload> {
    let single = |key: &str| match user.extra.get(key)?.as_slice() {
        [value] if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    Some(Workload {
        namespace: namespace.to_owned(),
        pod: single(POD_NAME)?,
        pod_uid: single(POD_UID)?,
        service_account: service_account.to_owned(),
        ..Workload::default()
    })
}

#[cfg(test)]
mod tests;
