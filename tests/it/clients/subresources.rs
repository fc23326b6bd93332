//! Subresources: status, scale, eviction, tokens, logs and proxies.

use anyhow::{Context, Result, ensure};
use harness::{Call, Protocol};
use serde_json::json;

use super::{Scene, is};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// A StatefulSet, which no controller of the test control plane touches.
fn reset(scene: &Scene) -> Result<()> {
    let sets = scene.path("apps/v1", "statefulsets");
    let database = json!({
        "metadata": {"name": "database"},
        "spec": {
            "replicas": 1,
            "serviceName": "database",
            "selector": {"matchLabels": {"app": "database"}},
            "template": {
                "metadata": {"labels": {"app": "database"}},
                "spec": {"containers": [{"name": "database", "image": "registry.invalid/database:1"}]},
            },
        },
    });
    // There is none the first time.
    let _missing = scene
        .namespace
        .api()
        .delete(&format!("{sets}/database?propagationPolicy=Background"));
    scene.namespace.api().create(&sets, &database).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let database = scene.path("apps/v1", "statefulsets/database");
    let (status, scale) = (format!("{database}/status"), format!("{database}/scale"));
    let scaled = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "database", "namespace": scene.namespace.name},
        "spec": {"replicas": 3},
    });
    let calls = [
        Call::get(&status),
        Call::get(&scale),
        Call::get(&scale).accepting("application/yaml"),
        Call::new("PATCH", &status).with_body(MERGE, r#"{"status": {"replicas": 2}}"#),
        Call::new("PATCH", &scale).with_body(MERGE, r#"{"spec": {"replicas": 2}}"#),
        Call::new("PUT", &scale).with_body(JSON, scaled.to_string()),
        Call::new("PUT", &format!("{scale}?dryRun=All")).with_body(JSON, scaled.to_string()),
    ];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let ways = scene.ways(protocol)?;
        for call in &calls {
            let seen = ways.same_after(|| reset(&scene), call).await;
            let seen = seen.with_context(|| format!("{call:?}"))?;
            is(200)(&seen).with_context(|| format!("{call:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_is_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "agent"},
        "deleteOptions": {"dryRun": ["All"]},
    });
    let call = Call::new("POST", &scene.path("v1", "pods/agent/eviction"))
        .with_body(JSON, eviction.to_string());
    scene.same_as(&[call], is(201)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_answer_differs_in_the_token_alone() -> Result<()> {
    let scene = Scene::new()?;
    let request = json!({"spec": {"audiences": ["sallyport"], "expirationSeconds": 3600}});
    let target = scene.path("v1", "serviceaccounts/coder/token");
    let call = Call::new("POST", &target).with_body(JSON, request.to_string());
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let ways = scene.ways(protocol)?;
        let mut answers = Vec::new();
        for way in [&ways.direct, &ways.through] {
            let response = way.call(&call).await?;
            ensure!(response.status == 201, "{}", response.text());
            let mut answer = response.json()?;
            let token = answer["status"]["token"].take();
            ensure!(token.as_str().is_some_and(|token| !token.is_empty()));
            for time in [
                "/status/expirationTimestamp",
                "/metadata/creationTimestamp",
                "/metadata/managedFields/0/time",
            ] {
                answer.pointer_mut(time).map(serde_json::Value::take);
            }
            answers.push(answer);
        }
        ensure!(answers[0] == answers[1], "{answers:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_oneself_are_answered_alike() -> Result<()> {
    let scene = Scene::new()?;
    let ask = |kind: &str, spec: serde_json::Value| {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec})
            .to_string();
        let resource = kind.to_lowercase() + "s";
        Call::new("POST", &format!("/apis/authorization.k8s.io/v1/{resource}"))
            .with_body(JSON, review)
    };
    let attributes = |verb: &str| json!({"resourceAttributes": {"namespace": scene.namespace.name, "verb": verb, "resource": "configmaps"}});
    let calls = [
        ask("SelfSubjectAccessReview", attributes("create")),
        ask(
            "SelfSubjectAccessReview",
            json!({"resourceAttributes": {"namespace": "kube-system", "verb": "get", "resource": "secrets"}}),
        ),
    ];
    scene.same_as(&calls, is(201)).await
}

/// No node runs the pod and nothing is behind the Service, so these are refusals of the API server.
#[tokio::test(flavor = "multi_thread")]
async fn logs_and_proxies_fail_alike() -> Result<()> {
    let scene = Scene::new()?;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
    });
    scene.create("v1", "services", &service)?;
    let calls = [
        Call::get(&scene.path("v1", "pods/agent/log")),
        Call::get(&scene.path("v1", "pods/agent/log?follow=true&tailLines=1")),
        Call::get(&scene.path("v1", "pods/agent/log?container=none")),
        Call::get(&scene.path("v1", "pods/none/log")),
        Call::get(&scene.path("v1", "services/web:80/proxy/index.html")),
        Call::get(&scene.path("v1", "services/none/proxy/")),
        Call::get(&scene.path("v1", "pods/none/proxy/")),
    ];
    let refused = |seen: &super::Seen| {
        ensure!(seen.status >= 400, "not refused: {seen}");
        Ok(())
    };
    scene.same_as(&calls, refused).await
}
