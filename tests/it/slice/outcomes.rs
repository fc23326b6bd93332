//! What a call's end is worth when the wire breaks or the agent leaves: the gateway's manual has the table.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Relay, Response, eventually};
use serde_json::{Value, json};

use super::Scene;

const LIMIT: Duration = Duration::from_secs(60);

/// Larger than every buffer on the way, so that its end is not there when its beginning is.
const LARGE: usize = 900_000;

fn behind_relay() -> Result<(Scene, Relay)> {
    Scene::behind_relay(|settings, _| Ok(settings))
}

/// How often the API server took this call.
fn times_carried_out(scene: &Scene, response: &Response) -> Result<usize> {
    let audit_id = response.header("audit-id").context("no Audit-ID")?;
    Ok(scene
        .api_servers_events(|event| event["auditID"] == audit_id)?
        .len())
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

#[test]
fn a_lost_answer_is_an_unknown_outcome_and_the_call_is_never_repeated() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    // Whoever sent it again would be heard.
    relay.cut_next();
    let response = scene.post_configmap("paint", "green")?;

    let status = response.refusal(500)?;
    assert!(
        message(&status).contains("may have been carried out"),
        "{status}"
    );
    assert_eq!(response.header("retry-after"), None);
    let event = scene.api_servers_event(&response)?;
    assert_eq!(event["responseStatus"]["code"], 201, "{event}");
    scene.configmap("paint")?;
    assert_eq!(times_carried_out(&scene, &response)?, 1);
    let record = scene.record(&response)?;
    assert_eq!(
        (
            &record["outcome"],
            &record["decision"],
            &record["responseStatus"]["code"]
        ),
        (&json!("unknown"), &json!("allow"), &json!(500))
    );
    Ok(())
}

#[test]
fn an_answer_cut_in_its_body_breaks_the_stream_and_is_recorded_as_aborted() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    let created = scene.post_configmap("large", &"x".repeat(LARGE))?;
    assert_eq!(created.status, 201, "{}", created.text());
    relay.cut_after(LARGE / 4);
    let mut exchange = scene.start("GET", &scene.configmaps(), &[], &[])?;
    let head = exchange.head()?;
    assert_eq!(head.status, 200);
    assert!(
        exchange.body(&head).is_err(),
        "the cut answer looks complete"
    );
    relay.pass();

    let record = scene.record(&head)?;
    assert_eq!(
        (&record["outcome"], &record["responseStatus"]["code"]),
        (&json!("aborted"), &json!(200))
    );
    Ok(())
}

#[test]
fn an_api_server_out_of_reach_is_a_503_and_nothing_is_sent() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    // Connections end before their handshake; the agent's token is known already.
    relay.cut_after(0);
    relay.cut();
    let response = scene.post_configmap("paint", "green")?;
    relay.pass();

    let status = response.refusal(503)?;
    assert!(message(&status).contains("nothing was sent"), "{status}");
    assert_eq!(times_carried_out(&scene, &response)?, 0);
    assert!(scene.configmap("paint").is_err());
    let record = scene.record(&response)?;
    assert_eq!(
        (
            &record["outcome"],
            &record["decision"],
            &record["responseStatus"]["code"]
        ),
        (&json!("complete"), &json!("allow"), &json!(503))
    );
    Ok(())
}

#[test]
fn an_agent_nobody_can_vouch_for_is_told_to_come_back() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    let token = scene
        .namespace
        .token("coder", "sallyport", Some(&scene.pod))?;
    let agent = scene.gateway.agent(&token)?;
    let list = || agent.request("GET", &scene.configmaps(), &[], &[]);
    relay.cut_after(0);
    relay.cut();
    let response = list()?;
    relay.pass();

    assert_eq!(response.refusal(503)?["reason"], "ServiceUnavailable");
    assert_eq!(times_carried_out(&scene, &response)?, 0);
    // That nobody answered says nothing of the token.
    eventually("the call of an agent that is vouched for", LIMIT, || {
        Ok((list()?.status == 200).then_some(()))
    })
}

#[test]
fn a_call_after_idle_connections_died_is_carried_out_once() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    relay.hang_up()?;
    let response = scene.post_configmap("paint", "green")?;
    assert_eq!(response.status, 201, "{}", response.text());
    assert_eq!(times_carried_out(&scene, &response)?, 1);
    assert_eq!(scene.record(&response)?["outcome"], "complete");
    Ok(())
}

#[test]
fn an_agent_that_leaves_before_the_answer_leaves_an_unknown_outcome() -> Result<()> {
    let (scene, relay) = behind_relay()?;
    relay.hold();
    let body = serde_json::to_vec(&json!({"metadata": {"name": "paint"}}))?;
    let json = [("Content-Type", "application/json")];
    let exchange = scene.start("POST", &scene.configmaps(), &json, &body)?;
    relay.wait_for_held()?;
    drop(exchange);

    let record = scene.outcome_of("the outcome of the call that was left", |call| {
        call["verb"] == "create"
    })?;
    assert_eq!(record["outcome"], "unknown", "{record}");
    assert_eq!(record["decision"], "allow");
    scene.configmap("paint")?;
    Ok(())
}

#[test]
fn an_agent_that_leaves_a_watch_leaves_an_aborted_outcome() -> Result<()> {
    let scene = Scene::new()?;
    let watch = format!("{}?watch=true", scene.configmaps());
    let mut exchange = scene.start("GET", &watch, &[], &[])?;
    let head = exchange.head()?;
    assert_eq!(head.status, 200);
    drop(exchange);

    let record = scene.record(&head)?;
    assert_eq!(
        (
            &record["verb"],
            &record["outcome"],
            &record["responseStatus"]["code"]
        ),
        (&json!("watch"), &json!("aborted"), &json!(200))
    );
    Ok(())
}

#[test]
fn an_agent_that_leaves_within_its_own_body_is_recorded_and_nothing_is_sent() -> Result<()> {
    let scene = Scene::new()?;
    let before = scene.list()?;
    let announced = [
        ("Content-Type", "application/json"),
        ("Content-Length", "100"),
    ];
    let mut exchange = scene.start("POST", &scene.configmaps(), &announced, &[])?;
    exchange.send_again(br#"{"metadata": "#)?;
    drop(exchange);

    let record = scene.outcome_of("the record of the broken request", |call| {
        call["verb"] == "create"
    })?;
    assert_ne!(record["auditID"], scene.record(&before)?["auditID"]);
    assert_eq!(record["rule"], "gateway/body_broken", "{record}");
    let audit_id = record["auditID"].clone();
    assert!(
        scene
            .api_servers_events(|event| event["auditID"] == audit_id)?
            .is_empty()
    );
    Ok(())
}
