//! How upgraded connections end, and what is recorded of it.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Tools, WebSocket, eventually};
use serde_json::{Value, json};

use super::Scene;
use crate::slice::{developer_policy, stops::told};

impl Scene {
    /// An exec that waits for what it is told, and has answered once.
    pub(in super::super) fn waiting(&self) -> Result<WebSocket> {
        let mut socket = self.websocket(
            &self.exec(&["cat"], &["stdin", "stdout"]),
            "v4.channel.k8s.io",
        )?;
        socket.send(0, b"ping\n")?;
        assert_eq!(socket.receive()?, (1, b"ping\n".to_vec()));
        Ok(socket)
    }
}

#[track_caller]
fn assert_aborted(call: &Value, why: &str) {
    let status = &call["responseStatus"];
    assert_eq!(
        (&call["outcome"], &status["code"], &status["message"]),
        (&json!("aborted"), &json!(101), &json!(why)),
        "{call}"
    );
}

#[test]
fn an_open_session_is_counted_and_keeps_its_place() -> Result<()> {
    let scene = Scene::with_shell()?;
    let mut socket = scene.waiting()?;
    assert_eq!(
        socket.header_names(),
        [
            "audit-id",
            "connection",
            "date",
            "sec-websocket-accept",
            "sec-websocket-protocol",
            "upgrade"
        ]
    );
    let open = |name: &str| scene.gateway.metric(name);
    assert_eq!(
        (
            open("sallyport_upgraded_connections")?,
            open("sallyport_connections")?
        ),
        (1.0, 1.0)
    );
    let calls = scene.gateway.audit_list(&["--resource", "pods/exec"])?;
    assert_eq!(
        (calls.len(), &calls[0]["stage"]),
        (1, &json!("RequestReceived")),
        "{calls:#?}"
    );
    // A client that is killed says nothing.
    drop(socket.send(0, b"last\n"));
    drop(socket);
    assert_aborted(&scene.stream("exec", "get")?, "the client went away");
    eventually("the end of the connection", Duration::from_secs(60), || {
        let gone = open("sallyport_upgraded_connections")? + open("sallyport_connections")? == 0.0;
        Ok(gone.then_some(()))
    })
}

#[test]
fn a_session_on_which_nothing_passes_ends() -> Result<()> {
    let scene = Scene::with(|mut settings, _| {
        settings.config["upgrades"] = json!({"idle": "5s"});
        Ok(settings)
    })?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let mut socket = scene.waiting()?;
    assert!(socket.rest()?.is_empty());
    assert_aborted(&scene.stream("exec", "get")?, "nothing passed for 5 s");
    Ok(())
}

#[test]
fn the_end_of_the_drain_ends_a_session_and_records_it() -> Result<()> {
    let mut scene = Scene::with(|mut settings, _| {
        settings.config["limits"] = json!({"drain": "1s"});
        Ok(settings)
    })?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let mut socket = scene.waiting()?;
    let audit_id = socket.header("audit-id").context("no Audit-ID")?.to_owned();
    scene.gateway.stop()?;
    assert!(socket.rest()?.is_empty());

    let rows = Tools::from_env()?.duckdb(&format!(
        "SELECT stage, outcome, responseStatus.message AS message, responseBytes > 0 AS said \
         FROM read_parquet('{}/**/*.parquet', union_by_name = true) WHERE auditID = '{audit_id}' ORDER BY stage",
        scene.gateway.path("store").display()
    ))?;
    let intent =
        json!({"stage": "RequestReceived", "outcome": null, "message": null, "said": null});
    let outcome = json!({
        "stage": "ResponseComplete", "outcome": "aborted", "message": "the gateway was stopped", "said": true,
    });
    assert_eq!(rows, [intent, outcome]);
    Ok(())
}

#[test]
fn a_session_may_end_by_itself_during_the_drain() -> Result<()> {
    let mut scene = Scene::with_shell()?;
    let script = "echo ready; read line; echo got $line";
    let reading = scene.exec(&["sh", "-c", script], &["stdin", "stdout"]);
    let mut socket = scene.websocket(&reading, "v4.channel.k8s.io")?;
    assert_eq!(socket.receive()?, (1, b"ready\n".to_vec()));
    scene.gateway.terminate()?;
    scene
        .gateway
        .wait_for_log("the drain", |line| line["fields"]["message"] == "draining")?;
    socket.send(0, b"word\n")?;
    assert_eq!(socket.rest()?[&1], b"got word\n");
    drop(socket);
    scene.gateway.wait_for_end()?;
    let call = scene.stream("exec", "get")?;
    assert_eq!(call["outcome"], "complete", "{call}");
    Ok(())
}

#[test]
fn an_api_server_that_breaks_off_ends_the_client() -> Result<()> {
    let (scene, relay) = Scene::behind_relay(|settings, _| Ok(settings))?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let mut socket = scene.waiting()?;
    relay.cut();
    assert!(socket.rest()?.is_empty());
    assert_aborted(
        &scene.stream("exec", "get")?,
        "the API server broke the connection off",
    );
    Ok(())
}

#[test]
fn a_policy_that_allows_it_no_more_ends_a_session() -> Result<()> {
    let scene = Scene::with_shell()?;
    let mut socket = scene.waiting()?;
    let audit_id = socket.header("audit-id").context("no Audit-ID")?.to_owned();
    let reads = developer_policy(&scene.namespace.name)
        .replace("verbs: [\"*\"]", "verbs: [get, list, watch]");
    scene.gateway.write_policy("developer.yaml", &reads)?;
    scene.gateway.reload()?;
    let why = told(&mut socket)?;
    assert!(why.contains("no rule of any AgentPolicy"), "{why}");
    let call = scene.stream("exec", "get")?;
    assert_eq!(
        (&call["auditID"], &call["outcome"]),
        (&json!(audit_id), &json!("aborted")),
        "{call:#}"
    );
    let why = call["responseStatus"]["message"].to_string();
    assert!(why.contains("no rule of any AgentPolicy"), "{call:#}");
    // It does not come again, and what the policy still allows goes on.
    assert!(scene.waiting().is_err());
    assert_eq!(scene.list()?.status, 200);
    Ok(())
}
