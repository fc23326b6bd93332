//! An agent in a namespace where no agents run, by a policy that names no namespace.

use anyhow::{Context, Result, ensure};
use harness::Namespace;
use serde_json::{Value, json};

use super::{JSON_PATCH, MERGE, STRATEGIC, denied, path, pod};
use crate::slice::{JSON, Scene, deployment};

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
        let refused = here.scene.send("PATCH", &shop, format, patch)?;
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
        let refused = here.scene.send(method, &target, format, &body)?;
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
    let refused = here.scene.send(
        "POST",
        &here.path("apis/tests.example/v1", "gadgets"),
        JSON,
        &body,
    )?;
    denied(&refused, "floor-unnamed-namespace")
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
