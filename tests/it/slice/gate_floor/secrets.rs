//! A pod reads Secrets for whoever makes it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{APPLY, JSON_PATCH, MERGE, STRATEGIC, YAML, denied, guarded, merge, path, pod};
use crate::slice::{JSON, deployment};

#[test]
fn a_pod_reads_no_secret_that_its_maker_may_not_get() -> Result<()> {
    let scene = guarded()?;
    let pods = scene.namespace.path("pods");
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    for (name, spec) in readers("db") {
        let mut pod = pod("reader");
        merge(&mut pod["spec"], &spec);
        let refused = scene.send("POST", &pods, JSON, &pod)?;
        denied(&refused, "guard/no-database-password").context(name)?;
        let yaml = serde_json::to_string_pretty(&pod)?;
        let refused = scene.send_bytes("POST", &pods, YAML, yaml.as_bytes())?;
        denied(&refused, "guard/no-database-password").context(name)?;
        let mut deployment = deployment("reader");
        merge(&mut deployment["spec"]["template"]["spec"], &spec);
        let refused = scene.send("POST", &deployments, JSON, &deployment)?;
        denied(&refused, "guard/no-database-password").context(name)?;
    }
    let (_, spec) = readers("public").swap_remove(0);
    let mut pod = pod("reader");
    merge(&mut pod["spec"], &spec);
    let made = scene.send("POST", &pods, JSON, &pod)?;
    assert_eq!(made.status, 201, "{}", made.text());
    Ok(())
}

#[test]
fn a_patch_does_not_slip_a_secret_into_what_runs() -> Result<()> {
    let scene = guarded()?;
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    let made = scene.send("POST", &deployments, JSON, &deployment("shop"))?;
    assert_eq!(made.status, 201, "{}", made.text());
    let shop = format!("{deployments}/shop");
    let from = json!([{"secretRef": {"name": "db"}}]);
    let containers = json!([{"name": "main", "image": "registry.invalid/shop:1", "envFrom": from}]);
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let whole = template(json!({"containers": containers}));
    let apply = {
        let mut object = deployment("shop");
        object["spec"]["template"]["spec"]["containers"] = containers.clone();
        object
    };
    let parent = json!([{
        "op": "add", "path": "/spec/template/spec", "value": {"containers": containers},
    }]);
    let stitched = json!([
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "db"}},
        {"op": "add", "path": "/spec/template/spec/containers/0/envFrom", "value": [{"secretRef": {}}]},
        {"op": "copy", "from": "/metadata/annotations/a",
         "path": "/spec/template/spec/containers/0/envFrom/0/secretRef/name"},
    ]);
    let forced = format!("{shop}?fieldManager=agent&force=true");
    for (target, format, patch) in [
        (&shop, STRATEGIC, &whole),
        (&shop, MERGE, &whole),
        (&shop, JSON_PATCH, &parent),
        (&shop, JSON_PATCH, &stitched),
        (&forced, APPLY, &apply),
    ] {
        let refused = scene.send("PATCH", target, format, patch)?;
        denied(&refused, "guard/no-database-password").with_context(|| format.to_owned())?;
    }
    let negative =
        json!([{"op": "add", "path": "/spec/template/spec/containers/-1/envFrom", "value": from}]);
    let refused = scene.send("PATCH", &shop, JSON_PATCH, &negative)?;
    denied(&refused, "unreadable-body")?;
    let kept = scene.namespace.api().get(&shop)?;
    assert!(!kept.to_string().contains("secretRef"), "{kept}");
    Ok(())
}

/// Every way in which a pod reads a Secret.
fn readers(secret: &str) -> Vec<(&'static str, Value)> {
    let container = |extra: Value| {
        let mut container = json!({"name": "main", "image": "registry.invalid/agent:1"});
        merge(&mut container, &extra);
        container
    };
    let variable = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}}]});
    let all = json!({"envFrom": [{"secretRef": {"name": secret}}]});
    let projected = json!({"projected": {"sources": [{"secret": {"name": secret}}]}});
    vec![
        (
            "volume",
            json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}]}),
        ),
        ("projected", {
            let mut volume = json!({"name": "v"});
            merge(&mut volume, &projected);
            json!({"volumes": [volume]})
        }),
        ("env", json!({"containers": [container(variable)]})),
        ("envFrom", json!({"containers": [container(all.clone())]})),
        ("init container", {
            let mut init = container(all);
            init["name"] = json!("init");
            json!({"initContainers": [init]})
        }),
    ]
}
