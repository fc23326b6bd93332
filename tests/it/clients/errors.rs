//! The API server's own refusals, which clients read as closely as its answers.

use anyhow::Result;
use harness::Call;
use serde_json::json;

use super::{Scene, is};

const JSON: &str = "application/json";

fn configmap(name: &str) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
        .to_string()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_there_in_the_same_words() -> Result<()> {
    let scene = Scene::new()?;
    let core = |rest: &str| scene.path("v1", rest);
    let calls = [
        Call::get(&core("configmaps/none")),
        Call::get(&core("configmaps/none")).accepting("application/vnd.kubernetes.protobuf"),
        Call::get(&core("configmaps/none")).accepting("application/yaml"),
        Call::new("DELETE", &core("configmaps/none")),
        Call::get(&core("widgets")),
        Call::get(&scene.path("example.com/v1", "widgets")),
        Call::get(&scene.path("apps/v9", "deployments")),
        Call::get("/apis/example.com/v1"),
        Call::get("/openapi/v3/apis/example.com/v1"),
        Call::new("PUT", &core("configmaps/none")).with_body(JSON, configmap("none")),
        Call::new("PATCH", &core("configmaps/none"))
            .with_body("application/merge-patch+json", "{}"),
    ];
    scene.same_as(&calls, is(404)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_conflicts_is_refused_in_the_same_words() -> Result<()> {
    let scene = Scene::new()?;
    let core = |rest: &str| scene.path("v1", rest);
    scene.create_configmap("paint", "green")?;
    let stale = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint", "resourceVersion": "1"}});
    let other =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}});
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint"}, "data": {"colour": "red"}});
    let calls = [
        Call::new("POST", &core("configmaps")).with_body(JSON, configmap("paint")),
        Call::new("PUT", &core("configmaps/paint")).with_body(JSON, stale.to_string()),
        Call::new("DELETE", &core("configmaps/paint")).with_body(JSON, other.to_string()),
        Call::new(
            "PATCH",
            &core("configmaps/paint?fieldManager=agent&force=false"),
        )
        .with_body("application/apply-patch+yaml", applied.to_string()),
    ];
    scene.same_as(&calls, is(409)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalid_is_refused_in_the_same_words() -> Result<()> {
    let scene = Scene::new()?;
    let core = |rest: &str| scene.path("v1", rest);
    scene.create_configmap("paint", "green")?;
    let deployment = json!({
        "metadata": {"name": "Web"},
        "spec": {"replicas": -1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "other"}}}},
    });
    let calls = [
        Call::new("POST", &core("configmaps")).with_body(JSON, configmap("Not a name")),
        Call::new("POST", &scene.path("apps/v1", "deployments"))
            .with_body(JSON, deployment.to_string()),
        Call::new("PATCH", &core("configmaps/paint")).with_body(
            "application/json-patch+json",
            r#"[{"op": "test", "path": "/data/colour", "value": "red"}]"#,
        ),
    ];
    scene.same_as(&calls, is(422)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_the_same_words() -> Result<()> {
    let scene = Scene::new()?;
    let core = |rest: &str| scene.path("v1", rest);
    let unknown = json!({"metadata": {"name": "paint"}, "colour": "red"});
    let strict = core("configmaps?fieldValidation=Strict");
    let bad = [
        Call::new("POST", &core("configmaps")).with_body(JSON, "{"),
        Call::new("POST", &core("configmaps"))
            .with_body(JSON, r#"{"kind": "Pod", "apiVersion": "v1"}"#),
        Call::new("POST", &strict).with_body(JSON, unknown.to_string()),
        Call::new("PATCH", &core("configmaps/paint?fieldManager=agent"))
            .with_body("application/apply-patch+yaml", ": {"),
        Call::get(&core("configmaps?limit=some")),
        Call::get(&core("configmaps?labelSelector=!!")),
        Call::get(&core("configmaps?continue=none")),
    ];
    scene.same_as(&bad, is(400)).await?;
    let types = [
        Call::new("POST", &core("configmaps")).with_body("application/xml", "<configmap/>"),
        Call::new("PATCH", &core("configmaps/paint")).with_body(JSON, "{}"),
    ];
    scene.same_as(&types, is(415)).await?;
    let forms = [
        Call::get(&core("configmaps")).accepting("application/xml"),
        Call::get(&core("configmaps")).accepting("application/cbor"),
        Call::get(&core("configmaps")).accepting("application/json;as=Table;v=v9;g=meta.k8s.io"),
        Call::get(&core("configmaps?watch=true")).accepting("application/yaml"),
    ];
    scene.same_as(&forms, is(406)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_served_is_refused_in_the_same_words() -> Result<()> {
    let scene = Scene::new()?;
    let calls = [
        Call::new("PUT", &scene.path("v1", "configmaps")).with_body(JSON, configmap("paint")),
        Call::new("POST", &scene.path("v1", "configmaps/paint"))
            .with_body(JSON, configmap("paint")),
        Call::new("HEAD", &scene.path("v1", "configmaps")),
        Call::new("HEAD", &scene.path("v1", "configmaps/paint")),
    ];
    scene.same_as(&calls, is(405)).await
}
