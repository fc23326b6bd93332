//! A CI job's token out of a captured pod.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use harness::{Cluster, Oidc, eventually};
use serde_json::{Value, json};

use super::{LIMIT, Node};
use crate::slice::stops::{Stopped, with_objects};

/// Lets repository 74 read ConfigMaps, by a `subject`.
fn policy_of_job(namespace: &str, subject: &Value) -> String {
    let rule = json!({
        "name": "read", "effect": "Allow", "verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
        "namespaces": [namespace], "names": ["*"],
    });
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": "job"},
        "spec": {"subjects": [subject], "rules": [rule]},
    })
    .to_string()
}

/// Stops are for the whole cluster, so no other test's agent has this name.
const PODS_AGENT: &str = "pods-of-jobs";

fn pods_agent() -> String {
    format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {PODS_AGENT}}}\nspec:\n  \
         match: {{serviceAccount: {{namespace: \"*\", name: coder}}}}\n"
    )
}

#[test]
fn a_jobs_token_out_of_a_pod_is_of_both_for_rules_and_for_stops() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let mut oidc = None;
    let node = Node::with(|settings| {
        let provider = oidc.insert(Oidc::from_env(&Cluster::from_env()?)?);
        let settings = settings.with_github(provider);
        with_objects(settings.with_agent("coder.yaml", &pods_agent()))
    })?;
    let claims = Oidc::github_claims("74");
    let job = oidc.context("made with the gateway")?.token(&claims)?;
    let (namespace, subject) = (&node.namespace.name, claims["sub"].as_str());
    let user = format!("sallyport:oidc:github:{}", subject.context("a subject")?);
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    node.namespace.grant(&user, &everything)?;

    let of_repository = json!({"issuer": "github", "claims": {"repository_id": "74"}});
    let alone = policy_of_job(namespace, &json!({"oidc": of_repository}));
    node.gateway.write_policy("job.yaml", &alone)?;
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    eventually("the policy", LIMIT, || {
        Ok((node.list_at(explicit, &job)?.status == 200).then_some(()))
    })?;
    let refused = node.list_at(node.address, &job)?.message(403)?;
    let pod = format!("came out of a pod of ServiceAccount {namespace}/coder");
    assert!(refused.contains(&pod), "{refused}");

    let account = json!({"namespace": namespace, "name": "coder"});
    let together = json!({"workload": {"serviceAccount": account, "oidc": of_repository}});
    let together = policy_of_job(namespace, &together);
    node.gateway.write_policy("job.yaml", &together)?;
    let answer = eventually("the policy for both", LIMIT, || {
        let answer = node.list_at(node.address, &job)?;
        Ok((answer.status == 200).then_some(answer))
    })?;
    assert_eq!(node.list_at(explicit, &job)?.status, 403);
    let audit_id = answer.header("audit-id").context("an Audit-ID")?;
    let record = node.outcome(audit_id)?;
    assert_eq!(record["entry"], "captured", "{record:#}");
    assert_eq!(record["upstreamUser"]["username"], json!(user));
    assert_eq!(record["workload"]["podUID"], json!(node.pod.uid));
    assert_eq!(record["rule"], "job/read");
    assert!(record["agent"].is_null(), "the user's is none: {record:#}");

    let alone = alone.replace(r#"{"name":"job"}"#, r#"{"name":"alone"}"#);
    node.gateway.write_policy("alone.yaml", &alone)?;
    eventually("both policies", LIMIT, || {
        Ok((node.list_at(explicit, &job)?.status == 200).then_some(()))
    })?;
    let target = node.namespace.path("configmaps?watch=true");
    let client = node.client(node.address)?.as_bearer(&job);
    let mut watch = client.start("GET", &target, &[], &[])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let stop = Stopped::new(&node.cluster, &json!({"agent": PODS_AGENT}))?;
    eventually("the stop of the pod's agent", LIMIT, || {
        let answer = node.list_at(node.address, &job)?;
        Ok((answer.status == 403 && answer.text().contains("AgentStop/")).then_some(()))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    assert_eq!(node.list_at(explicit, &job)?.status, 200, "out of no pod");
    stop.lift()?;
    eventually("the resumed pod", LIMIT, || {
        Ok((node.list_at(node.address, &job)?.status == 200).then_some(()))
    })
}
