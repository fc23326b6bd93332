//! Decoy Secrets: nobody has a reason to read one, so whoever does is told of and stopped.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Response, eventually};
use serde_json::json;

use super::{JSON, Scene};

#[test]
fn a_read_of_a_decoy_is_told_at_once() -> Result<()> {
    let scene = Scene::with(|mut settings, namespace| {
        settings.config["decoys"] =
            json!({"secrets": [{"namespace": namespace.name, "name": "root-credentials"}]});
        Ok(settings)
    })?;
    let api = scene.namespace.api();
    for name in ["root-credentials", "other"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
        api.create(&scene.namespace.path("secrets"), &secret)?;
    }
    let kubectl = scene.kubectl()?;
    kubectl.ok(&["get", "secret", "other", "-o", "yaml"])?;
    // Names and sizes alone are no read.
    kubectl.ok(&["get", "secrets"])?;
    ensure!(scene.gateway.metric("sallyport_decoys_read_total")? == 0.0);
    kubectl.ok(&["get", "secrets", "-o", "yaml"])?;
    let told = scene
        .gateway
        .wait_for_log("the decoy", |line| line["target"] == "decoy")?;
    ensure!(told.to_string().contains("root-credentials"), "{told}");
    ensure!(told.to_string().contains("coder"), "{told}");
    // A watch tells before it ends. Each patch is a change, since nobody knows when the watch has begun.
    let watch = kubectl.follow(&[
        "get",
        "secret",
        "root-credentials",
        "-o",
        "yaml",
        "--watch-only",
    ])?;
    let mut changes = (0..).map(|change: u32| change.to_string());
    eventually("the decoy seen in a watch", Duration::from_secs(60), || {
        let labels = json!({"metadata": {"labels": {"change": changes.next()}}});
        api.patch(&scene.namespace.path("secrets/root-credentials"), &labels)?;
        let count = scene.gateway.metric("sallyport_decoys_read_total")?;
        Ok((count >= 2.0).then_some(()))
    })?;
    drop(watch);
    Ok(())
}

#[test]
fn who_reads_a_decoy_is_stopped() -> Result<()> {
    let scene = scene_with_decoy()?;
    let target = scene.namespace.path("secrets/root-credentials");
    let response = scene.call("GET", &target, &[])?;
    scene.is_stopped_for_a_decoy(&response, "coder read the decoy Secret")
}

/// A program in the pod reads it, and no answer shows that.
#[test]
fn who_has_a_pod_read_a_decoy_is_stopped() -> Result<()> {
    let scene = scene_with_decoy()?;
    let deployments = format!(
        "/apis/apps/v1/namespaces/{}/deployments",
        scene.namespace.name
    );
    let create = |name: &str, query: &str, secret: &str| {
        let variable =
            json!({"name": "a", "valueFrom": {"secretKeyRef": {"name": secret, "key": "a"}}});
        let container = json!({"name": "main", "image": "example.com/none", "env": [variable]});
        let labels = json!({"app": name});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        let deployment = json!({
            "metadata": {"name": name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
        });
        let target = format!("{deployments}{query}");
        let response = scene.send("POST", &target, JSON, &deployment)?;
        ensure!(response.status == 201, "{}", response.text());
        anyhow::Ok(response)
    };
    // Neither is a read of it.
    create("other", "", "other")?;
    create("tried", "?dryRun=All", "root-credentials")?;
    ensure!(scene.gateway.metric("sallyport_decoys_read_total")? == 0.0);
    let response = create("shop", "", "root-credentials")?;
    scene.is_stopped_for_a_decoy(&response, "coder had a pod read the decoy Secret")
}

fn scene_with_decoy() -> Result<Scene> {
    let scene = Scene::with(|mut settings, namespace| {
        Cluster::from_env()?.serve_objects()?;
        settings.config["objects"] = json!({"namespace": namespace.name});
        settings.config["decoys"] = json!({
            "secrets": [{"namespace": namespace.name, "name": "root-credentials"}],
            "stopSession": true,
        });
        Ok(settings)
    })?;
    let api = scene.namespace.api();
    let decoy = json!({"metadata": {"name": "root-credentials"}, "stringData": {"a": "b"}});
    api.create(&scene.namespace.path("secrets"), &decoy)?;
    Ok(scene)
}

impl Scene {
    fn is_stopped_for_a_decoy(&self, response: &Response, told: &str) -> Result<()> {
        let api = self.namespace.api();
        let audit_id = response.header("audit-id").context("no Audit-ID")?;
        let stop = format!("/apis/sallyport.dev/v1alpha1/agentstops/decoy-{audit_id}");
        let denied = eventually("the stop", Duration::from_secs(60), || {
            let answer = self.list()?;
            Ok((answer.status == 403).then(|| answer.text()))
        });
        let made = api.get(&stop)?;
        api.delete(&stop)?;
        ensure!(denied?.contains("it read the decoy Secret"), "{made}");
        self.namespace.event("DecoyRead", told).map(drop)
    }
}
