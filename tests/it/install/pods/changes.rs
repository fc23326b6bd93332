//! What may change of an agent's pod that exists.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Response, eventually};
use serde_json::{Value, json};

use super::super::agents_namespace::{AgentsNamespace, said};

fn with_pod() -> Result<AgentsNamespace> {
    let agents = AgentsNamespace::enforce()?;
    agents.namespace.create_pod("agent", "coder")?;
    Ok(agents)
}

/// Adds an ephemeral container where the kubelet says this of the gate.
fn debugged_while(gate: &Value) -> Result<Response> {
    let agents = with_pod()?;
    let status = json!({"status": {"initContainerStatuses": [gate_status(gate)]}});
    let written = agents.change("/status", &status)?;
    ensure!(written.status == 200, "{}", written.text());
    debug(&agents, json!({"capabilities": {"drop": ["ALL"]}}))
}

fn gate_status(state: &Value) -> Value {
    json!({"name": "sallyport-start-gate", "state": state, "ready": false, "restartCount": 0,
           "image": "sallyport:test", "imageID": ""})
}

fn terminated(code: i64) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": null, "finishedAt": null}})
}

fn debug(agents: &AgentsNamespace, security: Value) -> Result<Response> {
    let container = json!({"name": "debugger", "image": "d:1", "securityContext": security});
    let patch = json!({"spec": {"ephemeralContainers": [container]}});
    agents.change("/ephemeralcontainers?dryRun=All", &patch)
}

fn debugged(security: Value) -> Result<Response> {
    debug(&with_pod()?, security)
}

const TOO_EARLY: &str = "only after sallyport-start-gate has succeeded";

#[test]
fn ephemeral_container_that_keeps_net_raw_is_refused() -> Result<()> {
    said(&debugged(Value::Null)?, 403, "must drop NET_RAW or ALL")
}

#[test]
fn privileged_ephemeral_container_is_refused() -> Result<()> {
    let security = json!({"privileged": true, "capabilities": {"drop": ["ALL"]}});
    said(&debugged(security)?, 403, "must not be privileged")
}

#[test]
fn ephemeral_container_that_drops_everything_is_admitted_after_the_gate() -> Result<()> {
    let answer = debugged_while(&terminated(0))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[test]
fn ephemeral_container_is_refused_before_the_gate_has_started() -> Result<()> {
    let security = json!({"capabilities": {"drop": ["ALL"]}});
    said(&debugged(security)?, 403, TOO_EARLY)
}

#[test]
fn ephemeral_container_is_refused_while_the_gate_runs_or_after_it_failed() -> Result<()> {
    let running = json!({"running": {"startedAt": null}});
    for state in [running, terminated(1), json!({"waiting": {}})] {
        said(&debugged_while(&state)?, 403, TOO_EARLY)?;
    }
    Ok(())
}

/// The status in the request is the caller's word, and the API server does not take it.
#[test]
fn status_that_comes_with_the_ephemeral_container_counts_for_nothing() -> Result<()> {
    let container = json!({"name": "debugger", "image": "d:1",
                           "securityContext": {"capabilities": {"drop": ["ALL"]}}});
    let patch = json!({
        "spec": {"ephemeralContainers": [container]},
        "status": {"initContainerStatuses": [gate_status(&terminated(0))]},
    });
    let answer = with_pod()?.change("/ephemeralcontainers?dryRun=All", &patch)?;
    said(&answer, 403, TOO_EARLY)
}

#[test]
fn gates_image_does_not_change_and_the_agents_may() -> Result<()> {
    let agents = with_pod()?;
    let mut spec = agents.pod()?["spec"].take();
    spec["initContainers"][0]["image"] = json!("busybox:1");
    let patch = json!({"spec": {"initContainers": spec["initContainers"]}});
    said(
        &agents.change("?dryRun=All", &patch)?,
        403,
        "sallyport-start-gate, unchanged",
    )?;
    spec["containers"][0]["image"] = json!("agent:2");
    let patch = json!({"spec": {"containers": spec["containers"]}});
    let answer = agents.change("?dryRun=All", &patch)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[test]
fn pod_older_than_the_label_loses_its_finalizer_and_keeps_its_spec() -> Result<()> {
    let agents = AgentsNamespace::unlabelled()?;
    agents.namespace.create_pod("agent", "coder")?;
    let finalizer = json!({"metadata": {"finalizers": ["example.com/kept"]}});
    assert_eq!(agents.change("", &finalizer)?.status, 200);
    agents.label("enforce")?;

    let mut containers = agents.pod()?["spec"]["containers"].take();
    containers[0]["image"] = json!("agent:2");
    let refused = agents.change("?dryRun=All", &json!({"spec": {"containers": containers}}))?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let released = agents.change("", &json!({"metadata": {"finalizers": null}}))?;
    assert_eq!(released.status, 200, "{}", released.text());
    Ok(())
}

#[test]
fn deployment_says_why_its_pods_do_not_come() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"hostNetwork": true, "containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    let name = &agents.namespace.name;
    let path = format!("/apis/apps/v1/namespaces/{name}/deployments");
    agents.namespace.api().create(&path, &deployment)?;
    let reason = eventually(
        "the Deployment's condition",
        Duration::from_secs(60),
        || {
            let found = agents.namespace.api().get(&format!("{path}/web"))?;
            let conditions = found["status"]["conditions"].as_array().cloned();
            let mut conditions = conditions.into_iter().flatten();
            Ok(conditions.find(|condition| condition["type"] == "ReplicaFailure"))
        },
    )?;
    let message = reason["message"].as_str().context("a message")?;
    assert!(message.contains("must not use hostNetwork"), "{message}");
    Ok(())
}
