//! The caller and the request of a case.

use std::collections::BTreeMap;

use super::{Caller, Case};
use crate::{
    identity::{
        AgentIdentity, CiRun, GenAi, Identity, Provenance, ProvenanceSource, Source, UserInfo,
        Workload,
    },
    request_info::{Ambiguous, RESOURCE_VERBS, RequestInfo},
};

/// Why a case cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Unclear {
    #[error(
        "the case says nothing of what is expected; write expect: Allow, Deny or RequireApproval"
    )]
    Expectation,
    #[error(
        "the case says not who calls; write one of serviceAccount, oidc and agent under as, or serviceAccount and oidc for a user's token in a pod"
    )]
    Caller,
    #[error(
        "podAgent is the agent of a pod out of which a user's token comes; write serviceAccount and oidc beside it"
    )]
    PodAgent,
    #[error("the case says not what is called; write verb and resource, or method and url")]
    Call,
    #[error("{0:?} is not a verb here; use {verbs}", verbs = RESOURCE_VERBS.join(", "))]
    Verb(String),
    #[error("{0:?} is no resource; write pods, or pods/log with its subresource")]
    Resource(String),
    #[error("the url is refused before any policy: {0}")]
    Ambiguous(Ambiguous),
}

impl Caller {
    pub fn identity(&self) -> Result<Identity, Unclear> {
        if self.pod_agent.is_some() && self.pod().is_none() {
            return Err(Unclear::PodAgent);
        }
        let (username, issuer, claims) = match (&self.service_account, &self.oidc, &self.agent) {
            (Some(account), None, _) => {
                let (namespace, name) = (&account.namespace, &account.name);
                (
                    format!("system:serviceaccount:{namespace}:{name}"),
                    None,
                    BTreeMap::new(),
                )
            }
            (_, Some(oidc), _) => {
                let claims = oidc.claims.iter();
                let claims = claims.map(|(claim, value)| (claim.clone(), vec![value.clone()]));
                (
                    format!("{}:case", oidc.issuer),
                    Some(oidc.issuer.clone()),
                    claims.collect(),
                )
            }
            (None, None, Some(agent)) => (
                format!("system:serviceaccount:agents:{}", agent.name),
                None,
                BTreeMap::new(),
            ),
            _ => return Err(Unclear::Caller),
        };
        Ok(Identity {
            user: UserInfo {
                username,
                groups: self.groups.clone(),
                ..UserInfo::default()
            },
            upstream_user: UserInfo::default(),
            issuer,
            claims,
            workload: self.pod(),
            pod_agent: self.pod_agent.clone(),
            provenance: self.provenance(),
            session_id: None,
        })
    }

    /// With both, the user's token comes out of a captured pod.
    fn pod(&self) -> Option<Workload> {
        let account = self
            .service_account
            .as_ref()
            .filter(|_| self.oidc.is_some());
        account.map(|account| Workload {
            namespace: account.namespace.clone(),
            service_account: account.name.clone(),
            ..Workload::default()
        })
    }

    fn provenance(&self) -> Provenance {
        let declared = Some(Source::OperatorDeclared);
        let agent = self.agent.as_ref().map(|agent| AgentIdentity {
            name: agent.name.clone(),
            version: agent.version.clone(),
            owner: agent.owner.clone(),
            ..AgentIdentity::default()
        });
        let model = self.model.as_ref().map(|model| GenAi {
            provider_name: model.provider.clone(),
            request_model: model.name.clone(),
            model_version: model.version.clone(),
            ..GenAi::default()
        });
        let cicd = self.ci.as_ref().map(|ci| CiRun {
            provider: ci.provider.clone(),
            repository: ci.repository.clone(),
            repository_id: ci.repository_id.clone(),
            run_id: ci.run_id.clone(),
            workflow_ref: ci.workflow_ref.clone(),
            commit_sha: ci.commit.clone(),
            actor: ci.actor.clone(),
            ..CiRun::default()
        });
        let source = ProvenanceSource {
            ci: cicd.as_ref().map(|_| Source::OidcClaim),
            agent: declared.filter(|_| agent.is_some()),
            model: declared.filter(|_| model.is_some()),
            ..ProvenanceSource::default()
        };
        Provenance {
            agent,
            gen_ai: model,
            cicd,
            source,
        }
    }
}

impl Case {
    pub fn request(&self) -> Result<RequestInfo, Unclear> {
        match (&self.method, &self.url, &self.verb, &self.resource) {
            (method, Some(url), None, None) => {
                let method = method.as_deref().unwrap_or("GET");
                RequestInfo::parse(method, url).map_err(Unclear::Ambiguous)
            }
            (None, None, Some(verb), Some(resource)) => self.parts(verb, resource),
            _ => Err(Unclear::Call),
        }
    }

    fn parts(&self, verb: &str, resource: &str) -> Result<RequestInfo, Unclear> {
        if !RESOURCE_VERBS.contains(&verb) {
            return Err(Unclear::Verb(verb.to_owned()));
        }
        let whole = resource;
        let (resource, subresource) = whole.split_once('/').unwrap_or((whole, ""));
        if resource.is_empty() || subresource.contains('/') {
            return Err(Unclear::Resource(whole.to_owned()));
        }
        // To Kubernetes, a namespace is in itself.
        let in_itself =
            self.api_group.is_empty() && resource == "namespaces" && self.namespace.is_empty();
        let namespace = if in_itself {
            &self.object_name
        } else {
            &self.namespace
        };
        Ok(RequestInfo {
            is_resource_request: true,
            verb: verb.to_owned(),
            api_group: self.api_group.clone(),
            api_version: "v1".to_owned(),
            namespace: namespace.clone(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: self.object_name.clone(),
            command: self.command.clone(),
            ..RequestInfo::default()
        })
    }
}
