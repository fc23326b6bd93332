//! The life of an `Agent` object of the cluster, beside a file that matches more.

use anyhow::Result;
use harness::eventually;
use serde_json::{Value, json};

use super::{
    super::{Scene, coder},
    LIMIT, apply, refused, status,
};

const AGENTS: &str = "/apis/sallyport.dev/v1alpha1/agents";

/// Whoever has no more specific object.
pub(super) fn anyone(namespace: &str) -> String {
    coder(namespace)
        .replace("metadata: {name: coder}", "metadata: {name: anyone}")
        .replace(", name: coder}}", ", name: \"*\"}}")
}

pub(super) fn an_agent_is_what_its_object_says_of_it(scene: &Scene) -> Result<()> {
    let coder = coder(&scene.namespace.name);
    assert_eq!(scene.list()?.status, 403);
    apply(&scene.cluster, &coder)?;
    status(scene, 200, "the agent of the cluster")?;
    let call = scene.record(&scene.list()?)?;
    let (agent, model) = (&call["agent"], &call["gen_ai"]);
    assert_eq!(
        json!([agent["name"], agent["owner"], agent["version"]]),
        json!(["coder", "team-a", "1.4"])
    );
    assert_eq!(
        json!([
            model["provider_name"],
            model["request_model"],
            model["model_version"]
        ]),
        json!(["acme", "big-model", "2026-10"])
    );
    let source = &call["provenanceSource"];
    assert_eq!(
        json!([source["agent"], source["model"], call["rule"]]),
        json!(["operator-declared", "operator-declared", "developer/work"])
    );

    let changed = coder.replace("\"1.4\"", "\"1.5\"");
    apply(&scene.cluster, &changed)?;
    eventually("the new version", LIMIT, || {
        Ok((version(scene)? == "1.5").then_some(()))
    })?;

    // The API server keeps what it does not know there, so that the gateway can refuse it.
    let misspelt = changed
        .replace("\"1.5\"", "\"1.6\"")
        .replace("name: coder}}", "name: coder, audiance: ci}}");
    apply(&scene.cluster, &misspelt)?;
    scene
        .gateway
        .wait_for_log("why the object is bad", |line| {
            let error = line["fields"]["error"].as_str().unwrap_or_default();
            line["level"] == "ERROR"
                && ["Agent of the cluster: coder: ", "audiance"]
                    .iter()
                    .all(|part| error.contains(part))
        })?;
    refused(scene, "agents", 1)?;
    assert_eq!(version(scene)?, "1.5");

    apply(&scene.cluster, &changed)?;
    refused(scene, "agents", 0)
}

pub(super) fn an_agent_ends_with_its_object(scene: &Scene) -> Result<()> {
    scene.cluster.api()?.delete(&format!("{AGENTS}/coder"))?;
    status(scene, 403, "the end of the agent")?;
    let call = scene.record(&scene.list()?)?;
    assert_eq!(
        (&call["agent"]["name"], &call["rule"]),
        (&json!("anyone"), &json!("default")),
        "{call:#}"
    );
    Ok(())
}

/// As the record of the agent's next call has it, which is served.
fn version(scene: &Scene) -> Result<Value> {
    let answer = scene.list()?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(scene.record(&answer)?["agent"]["version"].clone())
}
