//! Whoever guesses at a masked value is not told whether the guess is right.

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{CANARY, assert_hidden, decoded, policy, said, scene};
use crate::slice::Scene;

/// Whoever can write Secrets must not learn one by comparing.
#[test]
fn guesses_cannot_be_compared() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let guess = format!("--from-literal=password={CANARY}");
    kubectl.ok(&["create", "secret", "generic", "guess", &guess])?;
    let placeholder = |name: &str| -> Result<String> {
        decoded(&kubectl.json(&["get", "secret", name])?["data"]["password"])
    };
    ensure!(
        placeholder("guess")? != placeholder("db")?,
        "equal values look equal"
    );
    ensure!(
        placeholder("db")? == placeholder("db")?,
        "one value looks different each time"
    );
    let patch = json!({"stringData": {"password": CANARY}}).to_string();
    let dry = [
        "patch",
        "secret",
        "db",
        "--type=merge",
        "--dry-run=server",
        "-p",
        &patch,
    ];
    let refused = kubectl.run(&dry)?.failure()?;
    ensure!(refused.contains("a dry run would tell"), "{refused}");
    for operation in [
        json!([{"op": "test", "path": "/data/password", "value": BASE64_STANDARD.encode(CANARY)}]),
        json!([{"op": "copy", "from": "/data/password", "path": "/metadata/labels/x"}]),
        json!([{"op": "move", "from": "/metadata/annotations/note", "path": "/metadata/labels/x"}]),
    ] {
        let refused = kubectl
            .run(&[
                "patch",
                "secret",
                "db",
                "--type=json",
                "-p",
                &operation.to_string(),
            ])?
            .failure()?;
        ensure!(refused.contains("JSON Patch"), "{refused}");
    }
    // The answer to a write is comparable with nothing.
    let written = kubectl.json(&[
        "patch",
        "secret",
        "guess",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"a":"b"}}}"#,
    ])?;
    ensure!(
        decoded(&written["data"]["password"])? != placeholder("guess")?,
        "a write answers as a read does"
    );
    Ok(())
}

/// The generation in its answer would say whether the guess is right.
#[test]
fn a_dry_run_shows_a_change_and_answers_no_guess() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{
            "name": "web", "image": "web", "env": [{"name": "PASSWORD", "value": CANARY}],
        }]},
    });
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod},
    });
    kubectl.run_with(&["apply"], &web)?.success()?;
    for refused in [
        kubectl.run_with(&["apply", "--server-side", "--dry-run=server"], &web)?,
        kubectl.run(&[
            "set",
            "env",
            "deployment/web",
            "PASSWORD=guess",
            "--dry-run=server",
        ])?,
    ] {
        let refused = refused.failure()?;
        ensure!(
            refused.contains("a dry run would tell")
                && refused.contains("without --dry-run=server"),
            "{refused}"
        );
    }
    kubectl.ok(&["scale", "deployment/web", "--replicas=0"])?;
    kubectl.ok(&["label", "deployment/web", "a=b", "--dry-run=server"])?;
    let mut map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"},
    });
    kubectl.run_with(&["apply"], &map)?.success()?;
    map["data"]["a"] = json!("c");
    kubectl
        .run_with(&["apply", "--dry-run=server"], &map)?
        .success()?;
    // What compares is somebody else's program; its dry run is what might be refused.
    let diff = scene
        .kubectl()?
        .with_variable("KUBECTL_EXTERNAL_DIFF", "/bin/true");
    diff.run_with(&["diff"], &map)?.success()?;
    map["metadata"]["name"] = json!("made");
    kubectl
        .run_with(&["apply", "--server-side", "--dry-run=server"], &map)?
        .success()?;
    Ok(())
}

#[test]
fn a_refusal_that_quotes_a_secret_is_not_shown() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    for patch in [json!({"data": {"user": 7}}), json!({"stringData": 7})] {
        let output = kubectl.run(&[
            "patch",
            "secret",
            "db",
            "--type=merge",
            "-p",
            &patch.to_string(),
        ])?;
        assert_hidden(&said(&output));
        let refused = output.failure()?;
        ensure!(refused.contains("withheld"), "{refused}");
    }
    let again = kubectl
        .run(&["create", "secret", "generic", "db"])?
        .failure()?;
    ensure!(again.contains("already exists"), "{again}");
    Ok(())
}

#[test]
fn a_watch_over_websocket_is_refused_under_a_masked_view() -> Result<()> {
    let scene = Scene::with(|mut settings, namespace| {
        settings.config["upgrades"] = json!({"allow": ["watch"]});
        Ok(settings.with_policy("masked.yaml", &policy(&namespace.name)))
    })?;
    let target = scene.namespace.path("secrets?watch=true");
    let refused = scene
        .agent()?
        .websocket(&target, &[])
        .err()
        .context("it was upgraded")?
        .to_string();
    ensure!(refused.contains("403"), "{refused}");
    let denied = scene.outcome_of("the refusal", |call| call["verb"] == "watch")?;
    ensure!(denied["rule"] == "built-in/masked-view", "{denied}");
    Ok(())
}
