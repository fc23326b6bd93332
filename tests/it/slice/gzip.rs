//! Long lists come compressed, as kubectl asks for them, and are masked and counted all the same.

use anyhow::{Context, Result, ensure};
use harness::Response;
use serde_json::{Value, json};

use super::{Scene, levels::outcome};

/// In `stringData`, where it is written, and in `data`, where the API server puts it, in base64.
const CANARY: &str = "canary-in-a-compressed-list";
const CANARY_BASE64: &str = "Y2FuYXJ5LWluLWEtY29tcHJlc3NlZC1saXN0";

const EVERYTHING: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
";

/// With three ConfigMaps and three Secrets, each kind longer than the 128 KiB from which the API server compresses.
fn scene() -> Result<Scene> {
    let scene = Scene::with(|settings, _| Ok(settings.recording_by(EVERYTHING)))?;
    let long: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    let long = format!("{CANARY}{}", long.join(" "));
    for number in 0..3 {
        let metadata = json!({"name": format!("long-{number}")});
        let configmap = json!({"metadata": metadata, "data": {"numbers": long}});
        let secret = json!({"metadata": metadata, "stringData": {"numbers": long}});
        let api = scene.namespace.api();
        api.create(&scene.configmaps(), &configmap)?;
        api.create(&scene.namespace.path("secrets"), &secret)?;
    }
    Ok(scene)
}

fn compressed_list(scene: &Scene, resource: &str) -> Result<Response> {
    let target = scene.namespace.path(resource);
    let response = scene.call("GET", &target, &[("Accept-Encoding", "gzip")])?;
    ensure!(response.status == 200, "{}", response.text());
    ensure!(
        response.header("content-encoding") == Some("gzip"),
        "the API server did not compress: {:?}",
        response.headers
    );
    Ok(response)
}

fn assert_hidden(record: &Value) {
    let text = record.to_string();
    assert!(!text.contains(CANARY) && !text.contains(CANARY_BASE64));
}

#[test]
fn a_compressed_list_is_recorded_as_what_it_holds() -> Result<()> {
    let scene = scene()?;
    let response = compressed_list(&scene, "configmaps")?;
    let audit_id = response.header("audit-id").context("no Audit-ID")?;
    let record = outcome(&scene, audit_id)?;
    assert_eq!(record["responseBytes"], response.body.len().to_string());
    assert_eq!(record["bodyState"], "inline");
    let object = record["responseObject"].as_str().context("no body")?;
    let list: Value = serde_json::from_str(object)?;
    let mut items = scene.namespace.api().get(&scene.configmaps())?["items"].take();
    for item in items.as_array_mut().context("no items")? {
        // The record leaves out who set which fields.
        item["metadata"]["managedFields"] = json!([]);
    }
    assert_eq!(list["items"], items);
    let count = items.as_array().context("no items")?.len();
    assert!(count >= 3, "{count}");
    assert_eq!(record["itemCount"], count.to_string());
    Ok(())
}

#[test]
fn the_secrets_of_a_compressed_list_are_masked_and_named() -> Result<()> {
    let scene = scene()?;
    let response = compressed_list(&scene, "secrets")?;
    let audit_id = response.header("audit-id").context("no Audit-ID")?;
    let record = outcome(&scene, audit_id)?;
    assert_hidden(&record);
    assert_eq!(record["itemCount"], "3");
    assert_eq!(record["maskedResponse"], 3);
    let seen = record["secretsSeen"].as_array().context("none seen")?;
    let names: Vec<_> = seen.iter().map(|secret| &secret["name"]).collect();
    assert_eq!(names, ["long-0", "long-1", "long-2"]);
    Ok(())
}

#[test]
fn what_kubectl_lists_compressed_is_masked_and_counted() -> Result<()> {
    let scene = scene()?;
    let listed = scene.kubectl()?.ok(&["get", "secrets", "-o", "json"])?;
    assert!(listed.contains(CANARY_BASE64), "kubectl saw something else");
    let call = scene.outcome_of("kubectl's list", |call| {
        call["verb"] == "list" && call["objectRef"]["resource"] == "secrets"
    })?;
    let record = outcome(&scene, call["auditID"].as_str().context("no auditID")?)?;
    assert_hidden(&record);
    let bytes: usize = record["responseBytes"]
        .as_str()
        .context("no length")?
        .parse()?;
    assert!(bytes < listed.len() / 2, "it was not compressed: {bytes}");
    assert_eq!(record["maskedResponse"], 3);
    Ok(())
}
