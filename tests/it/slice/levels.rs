//! How much of a call is recorded: an `audit.k8s.io/v1` Policy says it, and changes while the gateway runs.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Response, eventually};
use serde_json::{Value, json};

use super::{JSON, Scene};

const LIMIT: Duration = Duration::from_secs(60);

const LEVELS: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  resources: [{group: "", resources: [pods]}]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: Request
  resources: [{group: "", resources: [configmaps]}]
- level: RequestResponse
"#;

fn scene(allow_none: bool) -> Result<Scene> {
    Scene::with(|mut settings, _| {
        settings.config["recording"]["allowNone"] = json!(allow_none);
        Ok(settings.recording_by(LEVELS))
    })
}

fn shown(scene: &Scene, response: &Response) -> Result<Value> {
    outcome(scene, response.header("audit-id").context("no Audit-ID")?)
}

/// The outcome with its bodies.
pub(super) fn outcome(scene: &Scene, audit_id: &str) -> Result<Value> {
    let show = [
        "audit",
        "show",
        audit_id,
        "--config",
        "gateway.yaml",
        "-o",
        "json",
    ];
    let text = scene.gateway.command(&show)?.success()?;
    let shown: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
    Ok(shown["outcome"]["record"].clone())
}

fn create(scene: &Scene, resource: &str, object: &Value) -> Result<Response> {
    let response = scene.send("POST", &scene.namespace.path(resource), JSON, object)?;
    anyhow::ensure!(response.status == 201, "{}", response.text());
    Ok(response)
}

#[test]
fn the_policy_file_says_what_is_kept_of_each_resource() -> Result<()> {
    let scene = scene(false)?;
    let secret = create(
        &scene,
        "secrets",
        &json!({"metadata": {"name": "door"}, "stringData": {"key": "value"}}),
    )?;
    let configmap = create(
        &scene,
        "configmaps",
        &json!({"metadata": {"name": "paint"}, "data": {"colour": "green"}}),
    )?;
    let account = create(
        &scene,
        "serviceaccounts",
        &json!({"metadata": {"name": "robot"}}),
    )?;
    let pods = scene.call("GET", &scene.namespace.path("pods"), &[])?;

    for (response, level, request, answer) in [
        (&secret, "Metadata", false, false),
        (&configmap, "Request", true, false),
        (&account, "RequestResponse", true, true),
        // `None` leaves no evidence, so it takes a setting of its own.
        (&pods, "Metadata", false, false),
    ] {
        let record = shown(&scene, response)?;
        assert_eq!(record["level"], level, "{record}");
        assert_eq!(record["requestObject"].is_null(), !request, "{record}");
        assert_eq!(record["responseObject"].is_null(), !answer, "{record}");
        assert!(record["responseDigest"].is_string(), "{record}");
    }
    // It came back in the answer, and is one Secret all the same.
    let seen = &shown(&scene, &secret)?["secretsSeen"];
    assert_eq!(seen.as_array().map(Vec::len), Some(1), "{seen}");
    assert_eq!(seen[0]["name"], "door");
    Ok(())
}

#[test]
fn level_none_leaves_no_record_where_it_is_allowed_but_of_refusals() -> Result<()> {
    let scene = scene(true)?;
    let pods = scene.call("GET", &scene.namespace.path("pods"), &[])?;
    assert_eq!(pods.status, 200);
    let refused = scene.call("GET", "/api/v1/namespaces/kube-system/pods", &[])?;
    refused.refusal(403)?;

    let record = scene.record(&refused)?;
    assert_eq!(
        (&record["level"], &record["decision"]),
        (&json!("Metadata"), &json!("deny"))
    );
    let audit_id = pods.header("audit-id").context("no Audit-ID")?;
    let calls = scene.gateway.audit_list(&[])?;
    assert!(
        calls.iter().all(|call| call["auditID"] != audit_id),
        "{calls:#?}"
    );
    Ok(())
}

#[test]
fn levels_change_with_their_file_and_a_bad_one_changes_nothing() -> Result<()> {
    let scene = scene(false)?;
    let level = || -> Result<Value> { Ok(scene.record(&scene.list()?)?["level"].clone()) };
    assert_eq!(level()?, "Request");

    scene.gateway.write_file(
        "levels.yaml",
        &LEVELS.replace("level: Request\n", "level: All\n"),
    )?;
    scene
        .gateway
        .wait_for_log("why the levels are bad", |line| {
            let error = line["fields"]["error"].as_str().unwrap_or_default();
            line["level"] == "ERROR" && error.contains("levels.yaml") && error.contains("All")
        })?;
    assert_eq!(level()?, "Request");
    scene.gateway.write_file(
        "levels.yaml",
        &LEVELS.replace("level: Request\n", "level: Metadata\n"),
    )?;
    eventually("the new levels", LIMIT, || {
        Ok((level()? == "Metadata").then_some(()))
    })
}

#[test]
fn reads_that_may_lag_still_leave_intent_and_outcome() -> Result<()> {
    let mut scene = Scene::with(|mut settings, _| {
        settings.config["recording"]["readLag"] = json!(true);
        Ok(settings)
    })?;
    scene.create_configmap("paint")?;
    let get = format!("{}/paint", scene.configmaps());
    let responses = [
        scene.list()?,
        scene.call("GET", &get, &[])?,
        scene.call("GET", &format!("{get}-none"), &[])?,
        scene.post_configmap("written", "x")?,
    ];
    for (response, code) in responses.iter().zip([200, 200, 404, 201]) {
        assert_eq!(response.status, code, "{}", response.text());
        let record = scene.record(response)?;
        assert_eq!(
            (&record["outcome"], &record["responseStatus"]["code"]),
            (&json!("complete"), &json!(code))
        );
    }
    scene.gateway.stop()?;
    let rows = harness::Tools::from_env()?.duckdb(&format!(
        "SELECT list_sort(list(stage)) AS stages, list(sequence ORDER BY stage) AS sequences FROM \
         read_parquet('{}/**/*.parquet', union_by_name = true) GROUP BY auditID",
        scene.gateway.path("store").display()
    ))?;
    assert_eq!(rows.len(), responses.len());
    for row in rows {
        assert_eq!(
            row["stages"],
            json!(["RequestReceived", "ResponseComplete"])
        );
        assert!(
            row["sequences"][0].as_u64() < row["sequences"][1].as_u64(),
            "an outcome before its intent: {row}"
        );
    }
    Ok(())
}

#[test]
fn a_rule_that_asks_for_it_warns_and_has_more_recorded() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        let policy = super::developer_policy(&namespace.name).replace(
            "    effect: Allow\n",
            "    effect: Allow\n    warn: this is watched\n    record: RequestResponse\n",
        );
        Ok(settings
            .recording_by(LEVELS)
            .with_policy("developer.yaml", &policy))
    })?;
    let object = json!({"metadata": {"name": "paint"}, "data": {"colour": "green"}});
    let response = create(&scene, "configmaps", &object)?;
    let warning = response.header("warning").unwrap_or_default();
    assert_eq!(warning, "299 - \"sallyport: this is watched\"");
    let outcome = shown(&scene, &response)?;
    assert_eq!(outcome["level"], "RequestResponse");
    assert!(
        outcome["requestObject"].to_string().contains("green"),
        "{outcome}"
    );
    assert!(
        outcome["responseObject"].to_string().contains("green"),
        "{outcome}"
    );
    Ok(())
}
