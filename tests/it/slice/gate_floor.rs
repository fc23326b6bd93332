//! The floor and what a rule reads of an object, tried as an attacker would: by every format, patch and detour.

use anyhow::{Context, Result, ensure};
use harness::{Namespace, Response};
use serde_json::{Value, json};

use super::{JSON, Scene};

mod elsewhere;
mod judged;
mod secrets;

const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

#[test]
fn a_body_that_can_be_read_in_two_ways_makes_no_pod() -> Result<()> {
    let scene = guarded()?;
    let pods = scene.namespace.path("pods");
    let containers = r#"[{"name":"main","image":"registry.invalid/agent:1"}]"#;
    let twice = format!(
        r#"{{"metadata":{{"name":"twice"}},"spec":{{"containers":{containers}}},"sp\u0065c":{{"containers":{containers},"hostNetwork":true}}}}"#
    );
    let anchors =
        "metadata: {name: anchors}\nspec: &s\n  containers: [{name: main, image: i}]\nother: *s\n";
    let documents = "metadata: {name: one}\n---\nmetadata: {name: two}\n";
    let norway = "metadata: {name: norway}\nspec:\n  hostNetwork: yes\n  containers: [{name: main, image: i}]\n";
    let tagged =
        "metadata: {name: tagged}\nspec:\n  containers: [{name: !!binary bWFpbg==, image: i}]\n";
    for (format, body) in [
        (JSON, twice.as_str()),
        (YAML, anchors),
        (YAML, documents),
        (YAML, norway),
        (YAML, tagged),
        ("application/json; charset=utf-8", "{} {}"),
    ] {
        let refused = scene.send_bytes("POST", &pods, format, body.as_bytes())?;
        denied(&refused, "unreadable-body").with_context(|| body.to_owned())?;
    }
    let made = scene.namespace.api().get(&pods)?;
    let names: Vec<&Value> = made["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pod| &pod["metadata"]["name"])
        .collect();
    assert_eq!(names, ["agent"], "only the agent's own pod is there");
    Ok(())
}

#[test]
fn a_generated_name_and_a_manifest_in_yaml_are_no_hindrance() -> Result<()> {
    let scene = guarded()?;
    let pods = scene.namespace.path("pods");
    let yaml = b"metadata:\n  generateName: worker-\nspec:\n  nodeName: nowhere\n  containers:\n  - name: main\n    image: registry.invalid/agent:1.2\n    args: ['yes', --port=80]\n";
    let made = scene.send_bytes("POST", &pods, YAML, yaml)?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json()?;
    assert_eq!(
        made["spec"]["containers"][0]["args"],
        json!(["yes", "--port=80"])
    );
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    assert!(name.starts_with("worker-"), "{made}");
    Ok(())
}

#[test]
fn the_largest_bodies_are_judged() -> Result<()> {
    let scene = guarded()?;
    let large = "x".repeat((3 << 20) - 1000);
    let mut pod = pod("large");
    pod["metadata"]["annotations"] = json!({"blob": large});
    // The API server itself takes less of annotations, and says so: the gateway let it through.
    let answer = scene.send("POST", &scene.namespace.path("pods"), JSON, &pod)?;
    let message = answer.message(422)?;
    assert!(message.contains("annotations"), "{message}");
    let tiny = vec![r#"{"name":"a"}"#; 200_000].join(",");
    let many = format!(r#"{{"metadata":{{"name":"many"}},"spec":{{"containers":[{tiny}]}}}}"#);
    let refused = scene.send_bytes("POST", &scene.namespace.path("pods"), JSON, many.as_bytes())?;
    denied(&refused, "unreadable-body")
}

/// The agent may do everything in its namespace but read the Secret `db`.
fn guarded() -> Result<Scene> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("guard.yaml", &guard(&namespace.name)))
    })?;
    for name in ["db", "public"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"password": "swordfish"}});
        scene
            .namespace
            .api()
            .create(&scene.namespace.path("secrets"), &secret)?;
    }
    Ok(scene)
}

fn merge(value: &mut Value, extra: &Value) {
    for (name, member) in extra.as_object().into_iter().flatten() {
        value[name] = member.clone();
    }
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeName": "nowhere", "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "registry.invalid/agent:1"}],
        },
    })
}

fn path(group: &str, namespace: &Namespace, rest: &str) -> String {
    format!("/{group}/namespaces/{}/{rest}", namespace.name)
}

/// A 403 that names the rule, or a built-in one.
fn denied(response: &Response, rule: &str) -> Result<()> {
    let message = response.message(403)?;
    ensure!(message.contains(rule), "not by {rule}: {message}");
    Ok(())
}

fn guard(namespace: &str) -> String {
    format!(
        r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: guard}}
spec:
  subjects: [{{all: "*"}}]
  rules:
  - name: no-database-password
    effect: Deny
    verbs: [get]
    apiGroups: [""]
    resources: [secrets]
    namespaces: [{namespace}]
    names: [db]
    reason: the password of the database is not for agents
"#
    )
}
