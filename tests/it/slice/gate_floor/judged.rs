//! Rules that read the object: every way to write it, and others who write it meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{APPLY, JSON_PATCH, MERGE, STRATEGIC, denied, guarded, path};
use crate::slice::{JSON, Scene, deployment};

#[test]
fn what_is_judged_by_its_object_works_with_every_patch_and_says_so_in_the_record() -> Result<()> {
    let scene = guarded()?;
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    let made = scene.send("POST", &deployments, JSON, &deployment("shop"))?;
    assert_eq!(made.status, 201, "{}", made.text());
    let shop = format!("{deployments}/shop");
    let replicas = |count: u8| json!({"spec": {"replicas": count}});
    let mut applied = deployment("shop");
    applied["spec"]["replicas"] = json!(5);
    let forced = format!("{shop}?fieldManager=agent&force=true");
    for (count, target, format, patch) in [
        (2, &shop, STRATEGIC, replicas(2)),
        (3, &shop, MERGE, replicas(3)),
        (
            4,
            &shop,
            JSON_PATCH,
            json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
        ),
        (5, &forced, APPLY, applied),
    ] {
        let patched = scene.send("PATCH", target, format, &patch)?;
        assert_eq!(patched.status, 200, "{format}: {}", patched.text());
        assert_eq!(patched.json()?["spec"]["replicas"], count, "{format}");
    }
    let last = scene.send("PATCH", &shop, STRATEGIC, &replicas(6))?;
    let call = scene.record(&last)?;
    for (rule, verb) in [("built-in/lookup", "get"), ("built-in/dry-run", "patch")] {
        let aside = scene.outcome_of(rule, |other| {
            // A controller may have changed the object between the two, and then there is another try.
            other["rule"] == rule
                && other["requestReceivedTimestamp"] == call["requestReceivedTimestamp"]
                && other["responseStatus"]["code"] == 200
        })?;
        assert_eq!(aside["verb"], verb);
        assert_eq!(aside["upstreamUser"], call["upstreamUser"]);
        let seen = scene
            .cluster
            .audit_events_of(aside["auditID"].as_str().context("no id")?)?;
        ensure!(!seen.is_empty(), "the cluster's audit log has no {rule}");
    }
    Ok(())
}

#[test]
fn a_dry_run_in_the_wrong_place_is_no_dry_run() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("rehearse.yaml", &rehearse(&namespace.name)))
    })?;
    scene.create_configmap("stays")?;
    let target = format!("{}/stays", scene.configmaps());
    let rehearsed = scene.call("DELETE", &format!("{target}?dryRun=All"), &[])?;
    assert_eq!(rehearsed.status, 200, "{}", rehearsed.text());
    // Beside a body, the query does not count: this would delete.
    let body = json!({"gracePeriodSeconds": 0});
    let refused = scene.send("DELETE", &format!("{target}?dryRun=All"), JSON, &body)?;
    denied(&refused, "rehearse/only-dry-runs")?;
    let refused = scene.call("DELETE", &target, &[])?;
    denied(&refused, "rehearse/only-dry-runs")?;
    let body = json!({"dryRun": ["All"]});
    let rehearsed = scene.send("DELETE", &target, JSON, &body)?;
    assert_eq!(rehearsed.status, 200, "{}", rehearsed.text());
    scene
        .kubectl()?
        .ok(&["delete", "configmap", "stays", "--dry-run=server"])?;
    scene.configmap("stays")?;
    let token = scene
        .namespace
        .path("serviceaccounts/coder/token?dryRun=All");
    let request = json!({"spec": {"audiences": ["https://kubernetes.default.svc"]}});
    let refused = scene.send("POST", &token, JSON, &request)?;
    denied(&refused, "floor-token-audience")
}

#[test]
fn a_deletion_that_is_judged_by_its_object_deletes_that_version_and_keeps_its_options() -> Result<()>
{
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("protect.yaml", &protect(&namespace.name)))
    })?;
    for (name, data) in [("locked", json!({"locked": "true"})), ("free", json!({}))] {
        let object =
            json!({"metadata": {"name": name, "finalizers": ["tests.example/wait"]}, "data": data});
        scene.namespace.api().create(&scene.configmaps(), &object)?;
    }
    let refused = scene.call("DELETE", &format!("{}/locked", scene.configmaps()), &[])?;
    denied(&refused, "protect/locked")?;
    // The options come in the query, and must go in the body, beside which the query does not count.
    let free = format!("{}/free", scene.configmaps());
    let rehearsed = scene.call("DELETE", &format!("{free}?dryRun=All"), &[])?;
    assert_eq!(rehearsed.status, 200, "{}", rehearsed.text());
    let left = scene.configmap("free")?;
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left}");
    let deleted = scene.call("DELETE", &free, &[])?;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let left = scene.configmap("free")?;
    assert!(left["metadata"]["deletionTimestamp"].is_string(), "{left}");
    let absent = scene.call("DELETE", &format!("{}/none", scene.configmaps()), &[])?;
    absent.refusal(404)?;
    Ok(())
}

/// Somebody else changes the object all the time: what the agent sends is judged again, and never meets an object that
/// was not judged.
#[test]
fn an_object_that_changes_meanwhile_is_judged_again() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("protect.yaml", &protect(&namespace.name)))
    })?;
    scene.create_configmap("busy")?;
    let target = format!("{}/busy", scene.configmaps());
    let api = scene.namespace.api().clone();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let others = scope.spawn(|| -> Result<u32> {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                api.patch(&target, &json!({"data": {"count": count.to_string()}}))?;
            }
            Ok(count)
        });
        let ours = (|| -> Result<()> {
            for (format, patch) in [
                (MERGE, json!({"data": {"ours": "1"}})),
                (STRATEGIC, json!({"data": {"ours": "2"}})),
                (
                    JSON_PATCH,
                    json!([{"op": "add", "path": "/data/ours", "value": "3"}]),
                ),
            ] {
                for _ in 0..5 {
                    let answer = scene.send("PATCH", &target, format, &patch)?;
                    ensure!(
                        matches!(answer.status, 200 | 409 | 422),
                        "{format}: {} {}",
                        answer.status,
                        answer.text()
                    );
                }
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let count = others.join().expect("it does not panic")?;
        ours?;
        ensure!(count > 1, "nobody else changed it");
        Ok(())
    })?;
    let locked = json!({"data": {"locked": "true"}});
    scene.namespace.api().patch(&target, &locked)?;
    for (format, patch) in [
        (MERGE, json!({"data": {"locked": null}})),
        (STRATEGIC, json!({"data": {"locked": null}})),
        (
            JSON_PATCH,
            json!([{"op": "remove", "path": "/data/locked"}]),
        ),
    ] {
        let refused = scene.send("PATCH", &target, format, &patch)?;
        denied(&refused, "protect/locked").with_context(|| format.to_owned())?;
    }
    let mut unlocked = scene.configmap("busy")?;
    unlocked["data"] = json!({});
    let refused = scene.send("PUT", &target, JSON, &unlocked)?;
    denied(&refused, "protect/locked")?;
    Ok(())
}

#[test]
fn kubectl_notices_nothing_of_being_judged_by_its_objects() -> Result<()> {
    let scene = guarded()?;
    let kubectl = scene.kubectl()?;
    kubectl.ok(&[
        "create",
        "deployment",
        "made",
        "--image=registry.invalid/made:1",
    ])?;
    kubectl.ok(&[
        "set",
        "image",
        "deployment/made",
        "made=registry.invalid/made:2",
    ])?;
    kubectl.ok(&["scale", "deployment/made", "--replicas=0"])?;
    kubectl.ok(&["label", "deployment/made", "team=a"])?;
    let manifest = deployment("applied");
    kubectl.run_with(&["apply"], &manifest)?.success()?;
    let mut changed = manifest;
    changed["spec"]["replicas"] = json!(3);
    kubectl.run_with(&["apply"], &changed)?.success()?;
    changed["spec"]["replicas"] = json!(2);
    let server_side = ["apply", "--server-side", "--force-conflicts"];
    kubectl.run_with(&server_side, &changed)?.success()?;
    kubectl.run_with(&["replace"], &changed)?.success()?;
    kubectl.ok(&[
        "patch",
        "deployment",
        "applied",
        "--type=json",
        r#"-p=[{"op":"replace","path":"/spec/replicas","value":1}]"#,
    ])?;
    kubectl.ok(&[
        "run",
        "once",
        "--image=registry.invalid/once:1",
        "--restart=Never",
    ])?;
    kubectl.ok(&["delete", "deployment", "made", "applied", "--wait=false"])?;
    Ok(())
}

fn rehearse(namespace: &str) -> String {
    format!(
        r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: rehearse}}
spec:
  subjects: [{{all: "*"}}]
  rules:
  - name: only-dry-runs
    effect: Deny
    verbs: [delete]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    unless: request.dryRun
    reason: deletions are only rehearsed here
"#
    )
}

fn protect(namespace: &str) -> String {
    format!(
        r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: protect}}
spec:
  subjects: [{{all: "*"}}]
  rules:
  - name: locked
    effect: Deny
    verbs: [update, patch, delete]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    when: oldObject != null && has(oldObject.data) && "locked" in oldObject.data
    reason: it is locked
"#
    )
}
