//! What is not upgraded, and what the client is told.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{HANDSHAKE, Scene};

fn no_shell(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: no-shell}}
spec:
  subjects:
  - all: "*"
  rules:
  - name: exec
    effect: Deny
    verbs: [get]
    apiGroups: [""]
    resources: [pods/exec]
    namespaces: [{namespace}]
    names: ["*"]
    reason: not here
"#
    )
}

/// kubectl tries WebSocket, then SPDY: two calls of one command, and one answer.
#[test]
fn a_denied_exec_is_denied_alike_by_both_transports() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("no-shell.yaml", &no_shell(&namespace.name)))
    })?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let said = scene
        .kubectl()?
        .run(&["exec", "shell", "--", "true"])?
        .failure()?;
    for words in [
        "error: unable to upgrade connection: sallyport: User ",
        r#" cannot create resource "pods/exec" in API group "" named "shell""#,
        r#"denied by rule "no-shell/exec": not here"#,
    ] {
        assert!(said.contains(words), "{said}");
    }
    let calls = [
        scene.stream("exec", "get")?,
        scene.stream("exec", "create")?,
    ];
    for call in &calls {
        assert_eq!(
            (&call["decision"], &call["responseStatus"]["code"]),
            (&json!("deny"), &json!(403)),
            "{call}"
        );
    }
    let [get, create] = calls;
    assert!(
        get["stepID"].is_string() && get["stepID"] == create["stepID"],
        "{get} {create}"
    );
    assert_eq!(
        get["responseStatus"]["message"],
        create["responseStatus"]["message"]
    );
    let sent = scene.api_servers_events(|event| event["objectRef"]["subresource"] == "exec")?;
    let ours = |event: &&Value| event["objectRef"]["namespace"] == scene.namespace.name;
    assert_eq!(sent.iter().find(ours), None);
    Ok(())
}

#[test]
fn other_upgrades_are_refused_unless_the_configuration_allows_them() -> Result<()> {
    let scene = Scene::with_shell()?;
    let namespace = &scene.namespace;
    for (target, what) in [
        (format!("{}?watch=true", scene.configmaps()), "watch"),
        (namespace.path("pods/shell/log?follow=true"), "pods/log"),
        (namespace.path("pods/shell/proxy/"), "pods/proxy"),
        (namespace.path("services/none/proxy/"), "services/proxy"),
        (
            "/api/v1/nodes/local/proxy/exec/ns/shell/main?command=id".to_owned(),
            "nodes/proxy",
        ),
    ] {
        let response = scene.call("GET", &target, &HANDSHAKE)?;
        let message = response.message(403)?;
        assert!(
            message.contains(&format!("add {what} to upgrades.allow")),
            "{message}"
        );
        let call = scene.record(&response)?;
        assert_eq!(call["rule"], "gateway/upgrade_not_allowed", "{call}");
        let audit_id = response.header("audit-id").context("no Audit-ID")?;
        assert_eq!(
            scene.api_servers_events(|event| event["auditID"] == audit_id)?,
            [] as [Value; 0]
        );
    }
    Ok(())
}

#[test]
fn a_watch_over_websocket_is_recorded_where_it_is_allowed() -> Result<()> {
    let scene = Scene::with(|mut settings, _| {
        settings.config["upgrades"] = json!({"allow": ["watch"]});
        Ok(settings)
    })?;
    scene.create_configmap("paint")?;
    let target = format!(
        "{}?watch=true&fieldSelector=metadata.name%3Dpaint",
        scene.configmaps()
    );
    // kube-apiserver wants an origin here, and cares not which.
    let origin = [("Origin", "https://localhost")];
    let mut socket = scene.agent()?.websocket(&target, &origin)?;
    let event = socket.receive_json()?;
    assert_eq!(
        (&event["type"], &event["object"]["data"]["colour"]),
        (&json!("ADDED"), &json!("green")),
        "{event}"
    );
    let audit_id = socket.header("audit-id").context("no Audit-ID")?.to_owned();
    drop(socket);
    let call = scene.outcome_of("the watch", |call| call["auditID"] == audit_id.as_str())?;
    assert_eq!(
        (&call["verb"], &call["responseStatus"]["code"]),
        (&json!("watch"), &json!(101)),
        "{call}"
    );
    Ok(())
}

/// kube-apiserver itself serves these as if no upgrade had been asked for.
#[test]
fn an_upgrade_of_an_ordinary_call_is_ignored() -> Result<()> {
    let scene = Scene::new()?;
    let h2c = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ];
    for headers in [&h2c[..], &HANDSHAKE] {
        let listed = scene.call("GET", &scene.configmaps(), headers)?;
        assert_eq!(listed.status, 200, "{}", listed.text());
        assert_eq!(listed.header("upgrade"), None);
    }
    Ok(())
}

#[test]
fn what_is_no_handshake_gets_a_status() -> Result<()> {
    let scene = Scene::with_shell()?;
    let exec = scene.exec(&["true"], &["stdout"]);
    let post = scene.start("POST", &exec, &HANDSHAKE, b"")?.response()?;
    post.refusal(400)?;
    let body = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    scene
        .start("POST", &exec, &body, b"GET /version HTTP/1.1\r\n\r\n")?
        .response()?
        .refusal(400)?;
    scene
        .call(
            "GET",
            &exec,
            &[("Connection", "Upgrade"), ("Upgrade", "h2c")],
        )?
        .refusal(400)?;
    scene.call("GET", &exec, &HANDSHAKE[..3])?.refusal(400)?;
    // Without an upgrade it is the API server that answers.
    let plain = scene.call("GET", &exec, &[])?.refusal(400)?;
    assert_eq!(plain["message"], "Upgrade request required");

    let request = format!(
        "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\nAuthorization: Bearer {}\r\n\r\n",
        scene.token
    );
    scene
        .gateway
        .client()?
        .send(request.as_bytes())?
        .refusal(400)?;
    Ok(())
}

/// The client's connection goes on in HTTP, and the next call on it is judged as any other.
#[test]
fn an_answer_that_is_no_101_is_an_ordinary_answer() -> Result<()> {
    let scene = Scene::new()?;
    let missing = scene
        .namespace
        .path("pods/none/exec?command=true&stdout=true");
    let mut exchange = scene.start("GET", &missing, &HANDSHAKE, &[])?;
    let response = exchange.response()?;
    response.refusal(404)?;
    let next = format!(
        "GET /api/v1/nodes HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n\r\n",
        scene.token
    );
    exchange.send_again(next.as_bytes())?;
    exchange.response()?.refusal(403)?;
    let call = scene.record(&response)?;
    assert_eq!(
        (&call["outcome"], &call["responseStatus"]["code"]),
        (&json!("complete"), &json!(404)),
        "{call}"
    );
    Ok(())
}
