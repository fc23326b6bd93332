//! Policies that come into force after an approval is used, and before what it is for is sent.

use anyhow::{Result, ensure};

use super::*;
use crate::slice::{
    JSON,
    stops::{stalled_upload, with_little_room},
};

const CANARY: &str = "open-sesame";

fn policy(namespace: &str, view: &str) -> String {
    let asking = asking(namespace, "{hold: 60s}");
    asking.replace("configmaps, ", "secrets, ") + &format!("    agentView: {view}\n")
}

/// An agent that fills its own room could otherwise see what it was approved for as policies were before.
#[test]
fn what_is_hidden_since_is_hidden_of_what_was_approved() -> Result<()> {
    let asked = Asked::with_settings("{hold: 60s}", |settings, namespace| {
        with_little_room(settings).with_policy("ask.yaml", &policy(namespace, "Clear"))
    })?;
    // Where the approval is used before the upload has taken its room, it has been sent before policy changes.
    for attempt in 0..5 {
        let text = approved_while_policy_changes(&asked, &format!("door-{attempt}"))?;
        if !text.contains(&base64(CANARY)) {
            ensure!(
                text.contains("sallyport-masked-") || text.contains("c2FsbHlwb3J0LW1hc2tlZC"),
                "{text}"
            );
            return Ok(());
        }
        asked
            .scene
            .gateway
            .write_policy("ask.yaml", &policy(&asked.scene.namespace.name, "Clear"))?;
        asked.scene.gateway.reload()?;
    }
    anyhow::bail!("each was sent before the policy changed")
}

fn approved_while_policy_changes(asked: &Asked, name: &str) -> Result<String> {
    let scene = &asked.scene;
    let secret = json!({"metadata": {"name": name}, "stringData": {"word": CANARY}});
    let secrets = scene.namespace.path("secrets");
    let mut call = scene
        .agent()?
        .start_object("POST", &secrets, JSON, &secret)?;
    let request = asked.open_request()?;
    let slow = stalled_upload(&scene.agent()?, &scene.configmaps())?;
    asked.vote(&request, &approval("ann"))?;
    asked.request("its use", |one| {
        one["metadata"]["uid"] == request["metadata"]["uid"] && one["status"]["uses"][0].is_object()
    })?;
    let masked = policy(&scene.namespace.name, "Masked");
    scene.gateway.write_policy("ask.yaml", &masked)?;
    scene.gateway.reload()?;
    drop(slow);
    let answer = call.response()?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Ok(answer.text())
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}
