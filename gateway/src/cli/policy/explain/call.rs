//! The call that is meant, from the words of a command line.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{
    cli::text::printable,
    policy::cases::{Agent, Caller, Case, Oidc, ServiceAccount},
    request_info::RequestInfo,
};

/// `deployments.apps/scale/web`, `deployments.apps/web`, `pods/exec/web` or `pods`.
pub(super) fn with_target(case: Case, verb: &str, target: &str) -> anyhow::Result<Case> {
    ensure!(
        target.split('/').all(|part| !part.is_empty()) && target.split('/').count() <= 3,
        "{target:?} is no RESOURCE[.GROUP][/SUBRESOURCE][/NAME]; write as in secrets/db or pods/exec/web"
    );
    let mut parts = target.splitn(3, '/');
    let kind = parts.next().unwrap_or_default();
    let (resource, api_group) = kind.split_once('.').unwrap_or((kind, ""));
    let (subresource, name) = match (parts.next(), parts.next()) {
        (Some(subresource), Some(name)) => (Some(subresource), name),
        (Some(name), None) => (None, name),
        _ => (None, ""),
    };
    let resource = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    Ok(Case {
        verb: Some(verb.to_owned()),
        api_group: api_group.to_owned(),
        resource: Some(resource),
        object_name: name.to_owned(),
        ..case
    })
}

pub(super) fn caller(text: &str) -> anyhow::Result<Caller> {
    let mut caller = Caller::default();
    if let Some(account) = text.strip_prefix("system:serviceaccount:") {
        let (namespace, name) = account
            .split_once(':')
            .context("a ServiceAccount is system:serviceaccount:NAMESPACE:NAME")?;
        caller.service_account = Some(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    } else if let Some(name) = text.strip_prefix("agent:") {
        caller.agent = Some(Agent {
            name: name.to_owned(),
            ..Agent::default()
        });
    } else if let Some(oidc) = text.strip_prefix("oidc:") {
        caller.oidc = Some(self::oidc(oidc)?);
    } else {
        bail!(
            "{text:?} is no caller; write system:serviceaccount:NAMESPACE:NAME, agent:NAME, or oidc:ISSUER:CLAIM=VALUE"
        );
    }
    Ok(caller)
}

pub(super) fn in_pod(caller: Caller, account: &str, agent: Option<&str>) -> anyhow::Result<Caller> {
    ensure!(
        caller.oidc.is_some(),
        "--pod-account is for a user's token; write --as oidc:ISSUER:CLAIM=VALUE, or leave it out: a ServiceAccount's \
         token is of its own pod"
    );
    let (namespace, name) = account
        .split_once('/')
        .context("--pod-account is NAMESPACE/NAME")?;
    Ok(Caller {
        service_account: Some(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        pod_agent: agent.map(str::to_owned),
        ..caller
    })
}

fn oidc(text: &str) -> anyhow::Result<Oidc> {
    let (issuer, claims) = text
        .split_once(':')
        .context("an OIDC caller is oidc:ISSUER:CLAIM=VALUE")?;
    let claims: Option<BTreeMap<_, _>> = claims
        .split(',')
        .map(|claim| {
            claim
                .split_once('=')
                .map(|(claim, value)| (claim.to_owned(), value.to_owned()))
        })
        .collect();
    Ok(Oidc {
        issuer: issuer.to_owned(),
        claims: claims.context("a claim is CLAIM=VALUE")?,
    })
}

pub(super) fn object(file: &PathBuf) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the object in {}", file.display()))?;
    let object: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is neither YAML nor JSON", file.display()))?;
    ensure!(object.is_object(), "{} holds no object", file.display());
    Ok(object)
}

/// The floor reads what it knows by the resource, and would find nothing in an object of another kind.
pub(super) fn check_kind(object: &Value, request: &RequestInfo) -> anyhow::Result<()> {
    let kind = object["kind"].as_str();
    let kind = kind.context("the object has no kind: it is none of Kubernetes")?;
    let of_kubernetes = !request.api_group.contains('.') || request.api_group.ends_with(".k8s.io");
    let start = kind.to_lowercase();
    let start = start.strip_suffix('y').unwrap_or(&start);
    ensure!(
        !of_kubernetes || !request.subresource.is_empty() || request.resource.starts_with(start),
        "the object is a {}, and the call is about {}",
        printable(kind),
        request.resource
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> (String, String, String) {
        let case = with_target(Case::default(), "get", text).expect(text);
        (
            case.api_group,
            case.resource.unwrap_or_default(),
            case.object_name,
        )
    }

    #[test]
    fn a_target_is_resource_group_subresource_and_name() {
        for (text, group, resource, name) in [
            ("pods", "", "pods", ""),
            ("secrets/db", "", "secrets", "db"),
            ("deployments.apps/web", "apps", "deployments", "web"),
            (
                "deployments.apps/scale/web",
                "apps",
                "deployments/scale",
                "web",
            ),
            ("pods/exec/web", "", "pods/exec", "web"),
        ] {
            assert_eq!(
                target(text),
                (group.into(), resource.into(), name.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_caller_is_one_of_three() {
        assert!(
            caller("system:serviceaccount:ci:bot")
                .is_ok_and(|caller| caller.service_account.is_some())
        );
        assert!(caller("agent:coder").is_ok_and(|caller| caller.agent.is_some()));
        assert!(
            caller("oidc:github:repository_id=1,ref=main")
                .is_ok_and(|caller| caller.oidc.is_some())
        );
        for wrong in [
            "coder",
            "oidc:github",
            "oidc:github:x",
            "system:serviceaccount:ci",
        ] {
            assert!(caller(wrong).is_err(), "{wrong}");
        }
    }
}
