//! Unmodified kubectl: what an agent's shell does all day.

use std::time::Duration;

use anyhow::Result;
use harness::{Kubectl, eventually};
use serde_json::{Value, json};

use super::Scene;

fn configmap(colour: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint"}, "data": {"colour": colour}})
}

#[test]
fn get_shows_tables_and_objects() -> Result<()> {
    let scene = Scene::new()?;
    scene.create_configmap("paint")?;
    let kubectl = scene.kubectl()?;

    let table = kubectl.ok(&["get", "configmaps"])?;
    assert!(table.contains("NAME") && table.contains("paint"), "{table}");
    assert_eq!(
        kubectl.json(&["get", "configmap", "paint"])?["data"]["colour"],
        "green"
    );
    assert!(
        kubectl
            .ok(&["get", "configmap", "paint", "-o", "yaml"])?
            .contains("colour: green")
    );
    let missing = kubectl.run(&["get", "configmap", "none"])?.failure()?;
    assert!(missing.contains("(NotFound)"), "{missing}");
    Ok(())
}

#[test]
fn describe_reads_an_object_and_its_events() -> Result<()> {
    let scene = Scene::new()?;
    let described = scene.kubectl()?.ok(&["describe", "pod", "agent"])?;
    assert!(
        described.contains("Service Account:") && described.contains("Events:"),
        "{described}"
    );
    Ok(())
}

#[test]
fn create_sends_protobuf_bodies() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    kubectl.ok(&[
        "create",
        "deployment",
        "web",
        "--image=registry.invalid/web:1",
    ])?;
    kubectl.ok(&[
        "create",
        "secret",
        "generic",
        "door",
        "--from-literal=key=value",
    ])?;

    let api = scene.namespace.api();
    assert_eq!(
        api.get(&scene.namespace.path("secrets/door"))?["data"]["key"],
        "dmFsdWU="
    );
    eventually("the Deployment's pod", Duration::from_secs(60), || {
        let pods = kubectl.json(&["get", "pods", "-l", "app=web"])?;
        Ok(pods["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
            .then_some(()))
    })
}

#[test]
fn apply_on_the_client_creates_then_patches() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    let created = kubectl.run_with(&["apply"], &configmap("red"))?.success()?;
    assert!(created.contains("created"), "{created}");
    let changed = kubectl
        .run_with(&["apply"], &configmap("blue"))?
        .success()?;
    assert!(changed.contains("configured"), "{changed}");

    let object = scene.configmap("paint")?;
    assert_eq!(object["data"]["colour"], "blue");
    let last_applied =
        &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert!(
        last_applied
            .as_str()
            .is_some_and(|text| text.contains("blue")),
        "{object}"
    );
    Ok(())
}

#[test]
fn apply_on_the_server_owns_its_fields() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    for colour in ["red", "blue"] {
        kubectl
            .run_with(&["apply", "--server-side"], &configmap(colour))?
            .success()?;
    }

    let object = scene.configmap("paint")?;
    assert_eq!(object["data"]["colour"], "blue");
    assert_eq!(
        object["metadata"]["managedFields"][0]["operation"], "Apply",
        "{object}"
    );
    Ok(())
}

#[test]
fn patch_works_in_every_type() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    scene.create_configmap("paint")?;
    let patches = [
        ("strategic", r#"{"data": {"colour": "red"}}"#, "red"),
        ("merge", r#"{"data": {"colour": "blue"}}"#, "blue"),
        (
            "json",
            r#"[{"op": "replace", "path": "/data/colour", "value": "white"}]"#,
            "white",
        ),
    ];
    for (kind, patch, colour) in patches {
        kubectl.ok(&[
            "patch",
            "configmap",
            "paint",
            "--type",
            kind,
            "--patch",
            patch,
        ])?;
        assert_eq!(
            scene.configmap("paint")?["data"]["colour"],
            colour,
            "{kind}"
        );
    }
    Ok(())
}

#[test]
fn delete_waits_until_the_object_is_gone() -> Result<()> {
    let scene = Scene::new()?;
    scene.create_configmap("paint")?;
    scene.kubectl()?.ok(&["delete", "configmap", "paint"])?;
    assert!(scene.configmap("paint").is_err());
    Ok(())
}

#[test]
fn watch_streams_changes_as_they_happen() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    let watch = kubectl.follow(&["get", "configmaps", "--watch", "-o", "name"])?;
    // In every namespace; once it is shown, the watch goes on from that list.
    watch.wait_for("the first list", |line| {
        line == "configmap/kube-root-ca.crt"
    })?;
    scene.create_configmap("late")?;
    watch.wait_for("the new ConfigMap", |line| line == "configmap/late")?;
    Ok(())
}

#[test]
fn auth_can_i_answers_for_the_synthetic_user() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    assert_eq!(
        kubectl
            .ok(&["auth", "can-i", "create", "configmaps"])?
            .trim(),
        "yes"
    );
    let no = kubectl.run(&[
        "auth",
        "can-i",
        "create",
        "configmaps",
        "--namespace",
        "kube-system",
    ])?;
    assert_eq!((no.status, no.stdout.trim()), (1, "no"));
    let who = kubectl.json(&["auth", "whoami"])?;
    assert_eq!(
        who["status"]["userInfo"]["username"],
        scene.namespace.synthetic_user("coder")
    );
    Ok(())
}

#[test]
fn refusals_name_the_rule_and_the_reason() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    scene.create_configmap("keep")?;

    let kept = kubectl.run(&["delete", "configmap", "keep"])?.failure()?;
    assert!(
        kept.contains("(Forbidden)") && kept.contains(r#"rule "developer/keep""#),
        "{kept}"
    );
    assert!(kept.contains("others depend on it"), "{kept}");
    scene.configmap("keep")?;
    let nowhere = kubectl.run(&["get", "nodes"])?.failure()?;
    assert!(
        nowhere.contains("(Forbidden)") && nowhere.contains(r#"rule "default""#),
        "{nowhere}"
    );
    Ok(())
}

#[test]
fn the_agents_token_opens_nothing_but_the_gateway() -> Result<()> {
    let scene = Scene::new()?;
    scene.kubectl()?.ok(&["get", "configmaps"])?;
    let around = Kubectl::around(&scene.cluster, &scene.namespace.name, &scene.token)?;
    let refusal = around.run(&["get", "configmaps"])?.failure()?;
    assert!(refusal.contains("must be logged in"), "{refusal}");
    Ok(())
}

#[test]
fn kubectl_says_why_discovery_was_refused() -> Result<()> {
    let scene = Scene::new()?;
    // A fresh kubectl asks for /api first, and drops the Status of a refusal there.
    let pretending = scene
        .kubectl()?
        .run(&["--as", "admin", "get", "configmaps"])?
        .failure()?;
    assert!(
        pretending.contains("Warning: sallyport: impersonation through the gateway is not allowed"),
        "{pretending}"
    );
    let stranger = Kubectl::through(&scene.gateway, &scene.namespace.name, "opaque")?;
    let unknown = stranger.run(&["get", "configmaps"])?.failure()?;
    assert!(
        unknown.contains("Warning: sallyport: the bearer token is not a signed JWT"),
        "{unknown}"
    );
    Ok(())
}

#[test]
fn tokens_for_the_api_server_are_never_minted() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    for audience in [
        &[][..],
        &["--audience=vault"],
        &["--audience=sallyport", "--audience=vault"],
    ] {
        let refusal = kubectl
            .run(&[&["create", "token", "coder"], audience].concat())?
            .failure()?;
        assert!(
            refusal.contains("floor-token-audience"),
            "{audience:?}: {refusal}"
        );
    }
    let ours = kubectl.ok(&["create", "token", "coder", "--audience=sallyport"])?;
    Kubectl::through(&scene.gateway, &scene.namespace.name, ours.trim())?
        .ok(&["get", "configmaps"])?;
    Ok(())
}
