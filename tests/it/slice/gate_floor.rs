//! The floor and what a rule reads of an object, tried as an attacker would: by every format, patch and detour.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use harness::{Namespace, Response};
use serde_json::{Value, json};

use super::Scene;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A scene whose agent has every right in a second namespace too, where no agents run, and a policy that allows it
/// everything everywhere.
struct Elsewhere {
    scene: Scene,
    other: Namespace,
}

impl Elsewhere {
    fn new() -> Result<Self> {
        let scene = Scene::with(|settings, namespace| {
            Ok(settings.with_policy("everywhere.yaml", &everywhere(&namespace.name)))
        })?;
        let other = Namespace::create(&scene.cluster)?;
        let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        other.grant(&scene.namespace.synthetic_user("coder"), &everything)?;
        Ok(Self { scene, other })
    }

    fn path(&self, group: &str, rest: &str) -> String {
        path(group, &self.other, rest)
    }
}

#[test]
fn nothing_new_runs_in_a_namespace_that_no_rule_names() -> Result<()> {
    let here = Elsewhere::new()?;
    let deployments = here.path("apis/apps/v1", "deployments");
    here.other.api().create(&deployments, &deployment("shop"))?;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "evil:1"}]}}}});
    let operation = json!([{
        "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1",
    }]);
    let shop = format!("{deployments}/shop");
    for (format, patch) in [
        (STRATEGIC, &image),
        (MERGE, &image),
        (JSON_PATCH, &operation),
    ] {
        let refused = send(&here.scene, "PATCH", &shop, format, patch)?;
        denied(&refused, "floor-unnamed-namespace")?;
    }
    let pods = here.path("api/v1", "pods");
    here.other.create_pod("idle", "default")?;
    for (method, target, format, body) in [
        ("POST", pods.clone(), JSON, pod("new")),
        (
            "PATCH",
            format!("{pods}/idle/ephemeralcontainers"),
            STRATEGIC,
            json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "evil:1"}]}}),
        ),
        (
            "POST",
            format!("{pods}/idle/binding"),
            JSON,
            json!({"metadata": {"name": "idle"}, "target": {"kind": "Node", "name": "node"}}),
        ),
        (
            "POST",
            format!("{pods}/idle/exec?command=id&stdout=true"),
            JSON,
            json!({}),
        ),
        (
            "POST",
            here.path("apis/batch/v1", "jobs"),
            JSON,
            json!({"metadata": {"generateName": "job-"}, "spec": {"template": pod("x")}}),
        ),
    ] {
        let refused = send(&here.scene, method, &target, format, &body)?;
        denied(&refused, "floor-unnamed-namespace").context(target)?;
    }
    let kept = here.other.api().get(&shop)?;
    assert_eq!(
        kept["spec"]["template"]["spec"]["containers"][0]["image"],
        "registry.invalid/shop:1"
    );
    Ok(())
}

#[test]
fn a_kind_that_nobody_knows_may_make_pods_and_needs_a_rule_that_names_its_namespace() -> Result<()>
{
    let here = Elsewhere::new()?;
    let widgets = "apiextensions.k8s.io/v1/customresourcedefinitions";
    let api = here.other.api();
    let made = api.answer("POST", &format!("/apis/{widgets}"), &[], &definition())?;
    ensure!(matches!(made.status, 201 | 409), "{}", made.text());
    let body = json!({
        "apiVersion": "tests.example/v1", "kind": "Gadget", "metadata": {"name": "one"},
        "spec": {"image": "evil:1"},
    });
    let refused = send(
        &here.scene,
        "POST",
        &here.path("apis/tests.example/v1", "gadgets"),
        JSON,
        &body,
    )?;
    denied(&refused, "floor-unnamed-namespace")
}

#[test]
fn a_pod_reads_no_secret_that_its_maker_may_not_get() -> Result<()> {
    let scene = guarded()?;
    let pods = scene.namespace.path("pods");
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    for (name, spec) in readers("db") {
        let mut pod = pod("reader");
        merge(&mut pod["spec"], &spec);
        let refused = send(&scene, "POST", &pods, JSON, &pod)?;
        denied(&refused, "guard/no-database-password").context(name)?;
        let yaml = serde_json::to_string_pretty(&pod)?;
        let refused = send_bytes(&scene, "POST", &pods, YAML, yaml.as_bytes())?;
        denied(&refused, "guard/no-database-password").context(name)?;
        let mut deployment = deployment("reader");
        merge(&mut deployment["spec"]["template"]["spec"], &spec);
        let refused = send(&scene, "POST", &deployments, JSON, &deployment)?;
        denied(&refused, "guard/no-database-password").context(name)?;
    }
    let (_, spec) = readers("public").swap_remove(0);
    let mut pod = pod("reader");
    merge(&mut pod["spec"], &spec);
    let made = send(&scene, "POST", &pods, JSON, &pod)?;
    assert_eq!(made.status, 201, "{}", made.text());
    Ok(())
}

#[test]
fn a_patch_does_not_slip_a_secret_into_what_runs() -> Result<()> {
    let scene = guarded()?;
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    let made = send(&scene, "POST", &deployments, JSON, &deployment("shop"))?;
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
        let refused = send(&scene, "PATCH", target, format, patch)?;
        denied(&refused, "guard/no-database-password").with_context(|| format.to_owned())?;
    }
    let negative =
        json!([{"op": "add", "path": "/spec/template/spec/containers/-1/envFrom", "value": from}]);
    let refused = send(&scene, "PATCH", &shop, JSON_PATCH, &negative)?;
    denied(&refused, "unreadable-body")?;
    let kept = scene.namespace.api().get(&shop)?;
    assert!(!kept.to_string().contains("secretRef"), "{kept}");
    Ok(())
}

#[test]
fn what_is_judged_by_its_object_works_with_every_patch_and_says_so_in_the_record() -> Result<()> {
    let scene = guarded()?;
    let deployments = path("apis/apps/v1", &scene.namespace, "deployments");
    let made = send(&scene, "POST", &deployments, JSON, &deployment("shop"))?;
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
        let patched = send(&scene, "PATCH", target, format, &patch)?;
        assert_eq!(patched.status, 200, "{format}: {}", patched.text());
        assert_eq!(patched.json()?["spec"]["replicas"], count, "{format}");
    }
    let last = send(&scene, "PATCH", &shop, STRATEGIC, &replicas(6))?;
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
            .audit_events(|event| event["auditID"] == aside["auditID"])?;
        ensure!(!seen.is_empty(), "the cluster's audit log has no {rule}");
    }
    Ok(())
}

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
        let refused = send_bytes(&scene, "POST", &pods, format, body.as_bytes())?;
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
    let made = send_bytes(&scene, "POST", &pods, YAML, yaml)?;
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
    let answer = send(&scene, "POST", &scene.namespace.path("pods"), JSON, &pod)?;
    let status = answer.refusal(422)?;
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("annotations"), "{message}");
    let tiny = vec![r#"{"name":"a"}"#; 200_000].join(",");
    let many = format!(r#"{{"metadata":{{"name":"many"}},"spec":{{"containers":[{tiny}]}}}}"#);
    let refused = send_bytes(
        &scene,
        "POST",
        &scene.namespace.path("pods"),
        JSON,
        many.as_bytes(),
    )?;
    denied(&refused, "unreadable-body")
}

#[test]
fn no_proxy_leads_back_to_the_api_server_or_into_a_kubelet() -> Result<()> {
    let here = Elsewhere::new()?;
    for name in ["https:kubernetes:443", "kubernetes", "kubernetes:https"] {
        let target = format!("/api/v1/namespaces/default/services/{name}/proxy/api/v1/secrets");
        let refused = here.scene.call("GET", &target, &[])?;
        denied(&refused, "floor-api-server-proxy").context(target)?;
    }
    // A rule that names the subresource, but not that it is of no namespace.
    for (method, target) in [
        (
            "GET",
            "/api/v1/nodes/node/proxy/run/kube-system/etcd/etcd?cmd=id",
        ),
        (
            "GET",
            "/api/v1/nodes/node/proxy/containerLogs/kube-system/etcd/etcd",
        ),
        (
            "GET",
            "/api/v1/nodes/node:10250/proxy/exec/kube-system/etcd/etcd?command=id&output=1",
        ),
        ("GET", "/api/v1/nodes/https:node:10250/proxy/pods"),
        (
            "POST",
            "/api/v1/nodes/node/proxy/run/kube-system/etcd/etcd?cmd=id",
        ),
        ("GET", "/api/v1/nodes/node/proxy"),
    ] {
        let refused = here.scene.call(method, target, &[])?;
        denied(&refused, "floor-unnamed-namespace").context(target)?;
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
    let refused = send(
        &scene,
        "DELETE",
        &format!("{target}?dryRun=All"),
        JSON,
        &body,
    )?;
    denied(&refused, "rehearse/only-dry-runs")?;
    let refused = scene.call("DELETE", &target, &[])?;
    denied(&refused, "rehearse/only-dry-runs")?;
    let body = json!({"dryRun": ["All"]});
    let rehearsed = send(&scene, "DELETE", &target, JSON, &body)?;
    assert_eq!(rehearsed.status, 200, "{}", rehearsed.text());
    scene
        .kubectl()?
        .ok(&["delete", "configmap", "stays", "--dry-run=server"])?;
    scene.configmap("stays")?;
    let token = scene
        .namespace
        .path("serviceaccounts/coder/token?dryRun=All");
    let request = json!({"spec": {"audiences": ["https://kubernetes.default.svc"]}});
    let refused = send(&scene, "POST", &token, JSON, &request)?;
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
                    let answer = send(&scene, "PATCH", &target, format, &patch)?;
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
        let refused = send(&scene, "PATCH", &target, format, &patch)?;
        denied(&refused, "protect/locked").with_context(|| format.to_owned())?;
    }
    let mut unlocked = scene.configmap("busy")?;
    unlocked["data"] = json!({});
    let refused = send(&scene, "PUT", &target, JSON, &unlocked)?;
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

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.invalid/shop:1"}]},
            },
        },
    })
}

fn definition() -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.tests.example"},
        "spec": {
            "group": "tests.example", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

fn path(group: &str, namespace: &Namespace, rest: &str) -> String {
    format!("/{group}/namespaces/{}/{rest}", namespace.name)
}

fn send(scene: &Scene, method: &str, target: &str, format: &str, body: &Value) -> Result<Response> {
    send_bytes(scene, method, target, format, &serde_json::to_vec(body)?)
}

fn send_bytes(
    scene: &Scene,
    method: &str,
    target: &str,
    format: &str,
    body: &[u8],
) -> Result<Response> {
    scene
        .start(method, target, &[("Content-Type", format)], body)?
        .response()
}

/// A 403 that names the rule, or a built-in one.
fn denied(response: &Response, rule: &str) -> Result<()> {
    let status = response.refusal(403)?;
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(message.contains(rule), "not by {rule}: {message}");
    Ok(())
}

fn everywhere(namespace: &str) -> String {
    format!(
        r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: everywhere}}
spec:
  subjects: [{{serviceAccount: {{namespace: {namespace}, name: coder}}}}]
  rules:
  - name: everything
    effect: Allow
    verbs: ["*"]
    apiGroups: ["*"]
    resources: ["*", pods/proxy, services/proxy, nodes/proxy]
    namespaces: ["*"]
    names: ["*"]
"#
    )
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
