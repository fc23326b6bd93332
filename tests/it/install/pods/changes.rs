//! What may change of an agent's pod that exists.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Response, eventually};
use serde_json::{Value, json};

use super::super::agents_namespace::{AgentsNamespace, said};

fn with_pod() -> Result<AgentsNamespace> {
    let agents = AgentsNamespace::enforce()?;
    agents.namespace.create_pod("agent", "coder")?;
    Ok(agents)
}

fn debugged(security: Value) -> Result<Response> {
    let container = json!({"name": "debugger", "image": "d:1", "securityContext": security});
    let patch = json!({"spec": {"ephemeralContainers": [container]}});
    with_pod()?.change("/ephemeralcontainers?dryRun=All", &patch)
}

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
fn ephemeral_container_that_drops_everything_is_admitted() -> Result<()> {
    let answer = debugged(json!({"capabilities": {"drop": ["ALL"]}}))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
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
        Duration::from_secs(20),
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
