//! What `sallyport manifests` puts into a cluster: whether it is there and works.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};

use super::check::Check;
use crate::{
    api::{names::NAMESPACE, v1alpha1::agent_policy::AgentPolicy},
    cli::{
        evidence::controller::{LABEL, is_ready},
        objects::{Kind, all},
        refusals::cannot,
        reports::each_report,
    },
};

const VOTES: &str = "who votes, stops and opens";
/// Without one of these, whoever may write the status of an object writes there in anybody's name.
const GUARDS: [&str; 5] = [
    "sallyport-approval-decision",
    "sallyport-approval-request",
    "sallyport-break-glass",
    "sallyport-break-glass-vote",
    "sallyport-stops",
];

pub(super) async fn checks(client: &Client) -> Vec<Check> {
    let checks = [
        (VOTES, guards(client).await),
        (POLICIES, policies(client).await),
        (CONTROLLER, controllers(client).await),
        (NODES, nodes(client).await),
    ];
    let told = |(subject, check): (&str, anyhow::Result<Check>)| {
        let unknown = |error| Check::notice(subject, format!("it is not known: {error:#}"));
        check.unwrap_or_else(unknown)
    };
    checks.into_iter().map(told).collect()
}

async fn guards(client: &Client) -> anyhow::Result<Check> {
    let kind = |all| Kind {
        one: "admission policy",
        all,
        role: None,
        list: "kubectl get validatingadmissionpolicies",
    };
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let policies = all(&policies, kind("ValidatingAdmissionPolicies")).await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let bindings = all(&bindings, kind("ValidatingAdmissionPolicyBindings")).await?;
    let there = policies.iter().map(|policy| policy.name_any()).collect();
    let denying = bindings
        .into_iter()
        .map(|binding| binding.spec)
        .filter(|spec| {
            spec.validation_actions
                .iter()
                .any(|action| action == "Deny")
        })
        .map(|spec| spec.policy_name)
        .collect();
    Ok(judge_guards(&there, &denying))
}

fn judge_guards(there: &BTreeSet<String>, denying: &BTreeSet<String>) -> Check {
    let counts = |name: &&str| there.contains(*name) && denying.contains(*name);
    let missing: Vec<_> = GUARDS.into_iter().filter(|name| !counts(name)).collect();
    if missing.is_empty() {
        return Check::ok(
            VOTES,
            "admission policies see that it is in their own name".to_owned(),
        );
    }
    Check::failed(
        VOTES,
        format!(
            "{} missing, or not bound to deny: whoever may write there writes in anybody's name; apply the output of \
             `sallyport manifests`",
            missing.join(", ")
        ),
    )
}

const POLICIES: &str = "AgentPolicy objects";

/// As what they are, since one that nobody understands is what is looked for.
async fn policies(client: &Client) -> anyhow::Result<Check> {
    let policies: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::erase::<AgentPolicy>(&()));
    let kind = Kind {
        one: "AgentPolicy",
        all: "policies (agentpolicies.sallyport.dev)",
        role: None,
        list: "kubectl get agentpolicies",
    };
    Ok(judge_policies(&all(&policies, kind).await?))
}

fn judge_policies(policies: &[DynamicObject]) -> Check {
    let is_refused = |policy: &&DynamicObject| policy.data["status"]["accepted"] == false;
    let refused = policies.iter().filter(is_refused);
    let refused: Vec<_> = refused.map(|policy| policy.name_any()).collect();
    if refused.is_empty() {
        return Check::ok(POLICIES, format!("{}, none is refused", policies.len()));
    }
    Check::notice(
        POLICIES,
        format!(
            "gateways refuse {}, and keep the last policies that were all right: `kubectl get agentpolicies` says why",
            refused.join(", ")
        ),
    )
}

const CONTROLLER: &str = "the controller";

async fn controllers(client: &Client) -> anyhow::Result<Check> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let listed = pods.list(&ListParams::default().labels(LABEL)).await;
    let listed = listed.map_err(cannot(format!("list the pods of {NAMESPACE}")))?;
    Ok(judge_controllers(&listed.items))
}

fn judge_controllers(pods: &[Pod]) -> Check {
    let unready = pods.iter().filter(|pod| !is_ready(pod));
    let unready: Vec<_> = unready.map(|pod| pod.name_any()).collect();
    let look = format!("see kubectl -n {NAMESPACE} describe pods -l {LABEL}");
    match (pods.len(), unready.len()) {
        (0, _) => Check::notice(
            CONTROLLER,
            format!("there is no pod of it in {NAMESPACE}: {look}"),
        ),
        (count, 0) => Check::ok(CONTROLLER, format!("{count} ready")),
        _ => Check::notice(
            CONTROLLER,
            format!("not ready: {}; {look}", unready.join(", ")),
        ),
    }
}

const NODES: &str = "node agents";

async fn nodes(client: &Client) -> anyhow::Result<Check> {
    let (now, mut fresh, mut stale) = (Timestamp::now(), 0, Vec::new());
    each_report(client, |report| match report.stale(now) {
        None => fresh += 1,
        Some(_) => stale.push(report.node),
    })
    .await?;
    Ok(judge_nodes(fresh, &stale))
}

fn judge_nodes(fresh: usize, stale: &[String]) -> Check {
    let look = format!("see kubectl -n {NAMESPACE} get pods -o wide");
    match (fresh, stale) {
        (0, []) => Check::failed(
            NODES,
            format!("none has ever reported, and nothing is captured: {look}"),
        ),
        (_, []) => Check::ok(NODES, format!("{fresh} report")),
        (0, _) => Check::failed(NODES, format!("none reports any more: {look}")),
        (_, _) => Check::notice(NODES, format!("silent: {}; {look}", stale.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::check::Verdict;

    #[test]
    fn a_guard_that_is_missing_or_only_warns_fails() {
        let all: BTreeSet<_> = GUARDS.map(str::to_owned).into();
        assert_eq!(judge_guards(&all, &all).verdict, Verdict::Ok);
        let mut fewer = all.clone();
        fewer.remove("sallyport-stops");
        for check in [judge_guards(&fewer, &all), judge_guards(&all, &fewer)] {
            assert_eq!(check.verdict, Verdict::Failed);
            assert!(
                check.saw.starts_with("sallyport-stops missing"),
                "{}",
                check.saw
            );
        }
    }

    #[test]
    fn what_does_not_work_is_named() {
        let policy = |name: &str, accepted: bool| -> DynamicObject {
            let policy = json!({"metadata": {"name": name}, "status": {"accepted": accepted}});
            serde_json::from_value(policy).expect("an object")
        };
        let policies = [policy("good", true), policy("bad", false)];
        assert!(judge_policies(&policies).saw.contains("refuse bad,"));
        assert_eq!(judge_policies(&policies[..1]).verdict, Verdict::Ok);

        let pod = |ready: &str| -> Pod {
            let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
            serde_json::from_value(json!({"metadata": {"name": "c"}, "status": status}))
                .expect("a pod")
        };
        assert_eq!(judge_controllers(&[pod("True")]).verdict, Verdict::Ok);
        assert!(
            judge_controllers(&[pod("False")])
                .saw
                .starts_with("not ready: c")
        );
        assert_eq!(judge_controllers(&[]).verdict, Verdict::Notice);

        assert_eq!(judge_nodes(2, &[]).verdict, Verdict::Ok);
        assert_eq!(judge_nodes(0, &[]).verdict, Verdict::Failed);
        assert!(
            judge_nodes(1, &["n".to_owned()])
                .saw
                .starts_with("silent: n")
        );
    }
}
