//! Request targets: what is ambiguous is refused, and what passes means the same to the API server.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::eventually;
use serde_json::{Value, json};

use super::Scene;

#[test]
fn ambiguous_targets_are_refused() -> Result<()> {
    let scene = Scene::new()?;
    let namespace = &scene.namespace.name;
    let inside = |rest: &str| format!("/api/v1/namespaces/{namespace}/{rest}");
    for target in [
        inside("pods/agent%2Fexec"),
        inside("pods/agent%2fexec"),
        inside("pods//exec"),
        inside("pods/../secrets"),
        inside("pods/%2e%2e/secrets"),
        inside("pods/./agent"),
        inside("pods/agent%00"),
        inside("pods/agent%25"),
        inside("pods/%ff"),
        inside("pods/%zz"),
        inside("pods/agent%0a"),
        "/api/v1/namespaces//secrets".into(),
        "/api/v1//secrets".into(),
        "//api/v1/secrets".into(),
        "/api/v1/watch".into(),
        format!("/api/v1/proxy/namespaces/{namespace}/pods/agent"),
    ] {
        let status = scene
            .call("GET", &target, &[])?
            .refusal(400)
            .with_context(|| target.clone())?;
        assert_eq!(status["reason"], "BadRequest", "{target}");
    }
    for method in ["PROPFIND", "get", "OPTIONS", "TRACE"] {
        scene
            .call(method, &inside("pods"), &[])?
            .refusal(400)
            .with_context(|| method.to_owned())?;
    }
    Ok(())
}

/// A controller makes `kube-root-ca.crt` a moment after the namespace.
fn scene_with_the_clusters_ca() -> Result<Scene> {
    let scene = Scene::new()?;
    eventually("the cluster's CA", Duration::from_secs(60), || {
        Ok(scene.configmap("kube-root-ca.crt").ok())
    })?;
    Ok(scene)
}

#[test]
fn targets_are_forwarded_byte_for_byte() -> Result<()> {
    let scene = scene_with_the_clusters_ca()?;
    let list = scene.configmaps();
    for target in [
        format!("{list}?labelSelector=a%3Db&limit=%35"),
        format!("{list}?limit=5&&labelSelector=a%20in+(b)"),
        format!("{list}/%6bube-root-ca.crt"),
        format!("{list}?"),
    ] {
        let response = scene.call("GET", &target, &[])?;
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        assert_eq!(
            scene.api_servers_event(&response)?["requestURI"],
            target.as_str()
        );
    }
    Ok(())
}

/// The API server's audit log is the oracle of how a request is understood.
#[test]
fn requests_mean_the_same_here_and_there() -> Result<()> {
    let scene = scene_with_the_clusters_ca()?;
    let list = scene.configmaps();
    for query in [
        "",
        "?watch=true&timeoutSeconds=1",
        "?watch=no&timeoutSeconds=1",
        "?watch&timeoutSeconds=1",
        "?watch=0",
        "?watch=False",
        "?watch=true;x=1",
        "?watch=false&watch=true",
        "?fieldSelector=metadata.name=kube-root-ca.crt",
        "?fieldSelector=metadata.name%3D%3Dkube-root-ca.crt&watch=1&timeoutSeconds=1",
        "?fieldSelector=metadata.name!=kube-root-ca.crt",
        "/kube-root-ca.crt",
        "/kube-root-ca.crt?watch=true",
    ] {
        let response = scene.call("GET", &format!("{list}{query}"), &[])?;
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        let (theirs, ours) = (
            scene.api_servers_event(&response)?,
            scene.record(&response)?,
        );
        assert_eq!(meaning(&ours), meaning(&theirs), "{query}");
    }
    Ok(())
}

fn meaning(event: &Value) -> Value {
    let object = &event["objectRef"];
    json!([
        event["verb"],
        object["resource"],
        object["namespace"],
        object["name"],
        object["subresource"],
        object["apiVersion"]
    ])
}
