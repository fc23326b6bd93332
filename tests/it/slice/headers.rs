//! Headers by which a caller could become someone else, and what the API server saw of them.

use anyhow::Result;
use harness::Response;
use serde_json::json;

use super::Scene;

/// The call was made by the gateway as the synthetic user and nobody else, under our audit id.
fn assert_synthetic(scene: &Scene, response: &Response) -> Result<()> {
    assert_eq!(response.status, 200, "{}", response.text());
    let event = scene.api_servers_event(response)?;
    assert_eq!(event["user"]["username"], "admin", "{event}");
    let user = &event["impersonatedUser"];
    assert_eq!(
        user["username"],
        scene.namespace.synthetic_user("coder"),
        "{event}"
    );
    let groups = user["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group.as_str());
    assert!(
        groups
            .filter(|group| group.starts_with("system:"))
            .eq(["system:authenticated"]),
        "{event}"
    );
    Ok(())
}

#[test]
fn impersonation_is_refused_in_every_spelling() -> Result<()> {
    let scene = Scene::new()?;
    for name in [
        "Impersonate-User",
        "impersonate-user",
        "IMPERSONATE-USER",
        "iMpErSoNaTe-UsEr",
        "Impersonate-Group",
        "Impersonate-Uid",
        "Impersonate-Extra-Scopes",
        "Impersonate-Extra-sallyport.dev%2Fagent",
        "Impersonate-Anything",
        "Impersonate_User",
    ] {
        let status = scene
            .call("GET", &scene.configmaps(), &[(name, "system:masters")])?
            .refusal(403)?;
        let message = status["message"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        assert!(message.contains(&name.to_lowercase()), "{name}: {message}");
    }
    let kubectl = scene
        .kubectl()?
        .run(&[
            "get",
            "configmaps",
            "--as",
            "admin",
            "--as-group",
            "system:masters",
        ])?
        .failure()?;
    assert!(kubectl.contains("(Forbidden)"), "{kubectl}");
    Ok(())
}

#[test]
fn a_front_proxys_headers_do_not_pass() -> Result<()> {
    let scene = Scene::new()?;
    let headers = [
        ("X-Remote-User", "system:kube-scheduler"),
        ("x-remote-group", "system:masters"),
        ("X-REMOTE-UID", "1"),
        ("X-Remote-Extra-Scopes", "all"),
    ];
    assert_synthetic(&scene, &scene.call("GET", &scene.configmaps(), &headers)?)
}

#[test]
fn connection_tokens_cannot_remove_what_the_gateway_adds() -> Result<()> {
    let scene = Scene::new()?;
    for tokens in [
        "impersonate-user",
        "Impersonate-User",
        " Impersonate-User , close",
        "keep-alive, impersonate-user, impersonate-group, impersonate-uid",
        "audit-id, x-forwarded-for, authorization",
        "close,,impersonate-user,",
    ] {
        assert_synthetic(
            &scene,
            &scene.call("GET", &scene.configmaps(), &[("Connection", tokens)])?,
        )?;
    }
    let twice = [
        ("Connection", "keep-alive"),
        ("Connection", "Impersonate-User"),
    ];
    assert_synthetic(&scene, &scene.call("GET", &scene.configmaps(), &twice)?)
}

#[test]
fn the_audit_id_is_ours_on_both_sides() -> Result<()> {
    let scene = Scene::new()?;
    let response = scene.call(
        "GET",
        &scene.configmaps(),
        &[("Audit-ID", "chosen-by-the-caller")],
    )?;
    assert_ne!(response.header("audit-id"), Some("chosen-by-the-caller"));
    assert_synthetic(&scene, &response)?;

    let (event, record) = (
        scene.api_servers_event(&response)?,
        scene.record(&response)?,
    );
    assert_eq!(event["auditID"], record["auditID"]);
    assert_eq!(
        event["impersonatedUser"]["username"],
        record["upstreamUser"]["username"]
    );
    Ok(())
}

#[test]
fn a_caller_cannot_choose_its_address() -> Result<()> {
    let scene = Scene::new()?;
    let forged = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Real-Ip", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
    ];
    let response = scene.call("GET", &scene.configmaps(), &forged)?;
    assert_synthetic(&scene, &response)?;
    let event = scene.api_servers_event(&response)?;
    assert!(
        !event["sourceIPs"].to_string().contains("203.0.113.9"),
        "{event}"
    );
    assert_eq!(scene.record(&response)?["sourceIPs"], json!(["127.0.0.1"]));
    Ok(())
}

#[test]
fn two_credentials_are_none() -> Result<()> {
    let scene = Scene::new()?;
    scene
        .call(
            "GET",
            &scene.configmaps(),
            &[("Authorization", "Bearer another")],
        )?
        .refusal(401)?;
    Ok(())
}

#[test]
fn nothing_passes_in_cbor() -> Result<()> {
    let scene = Scene::new()?;
    let target = scene.configmaps();
    for accepted in [
        "application/cbor, application/json",
        "application/cbor;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/cbor, */*;q=0.1",
    ] {
        let answer = scene.call("GET", &target, &[("Accept", accepted)])?;
        assert_eq!(answer.status, 200, "{accepted}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let refused = scene.call("GET", &target, &[("Accept", "application/cbor")])?;
    let status = refused.refusal(406)?;
    assert!(
        status["message"].to_string().contains("application/json"),
        "{status}"
    );

    let one = format!("{target}/one");
    for (method, target, format) in [
        ("POST", &target, "application/cbor"),
        ("PATCH", &one, "application/apply-patch+cbor"),
        ("DELETE", &one, "Application/CBOR; q=1"),
    ] {
        let headers = [("Content-Type", format)];
        let mut sent = scene.start(method, target, &headers, b"\xd9\xd9\xf7\xa0")?;
        let status = sent.response()?.refusal(415)?;
        let message = status["message"].to_string();
        assert!(message.contains("send JSON, YAML or protobuf"), "{message}");
    }
    Ok(())
}
