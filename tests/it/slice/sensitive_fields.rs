//! Fields that a policy calls sensitive, of a custom resource and of one ConfigMap: real clients work with them, the
//! agent sees placeholders, and no record has a value.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use harness::{Kubectl, Response, eventually};
use serde_json::{Value, json};

use super::{
    Scene,
    canary::{EVERYTHING, MARKER, canary, sweep::sweep_files},
};

const GROUP: &str = "sensitive.tests.example";
const PLACEHOLDER: &str = "sallyport-masked-";

/// Allows nothing that `developer` does not, and shows it masked.
fn policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: sensitive}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - {{name: read, effect: Allow, verbs: [get, list, watch], apiGroups: ["*"], resources: ["*"], namespaces: [{namespace}],
    names: ["*"], agentView: Masked}}
  sensitiveFields:
  - apiGroups: [{GROUP}]
    resources: [lockers]
    namespaces: ["*"]
    names: ["*"]
    paths: [".spec.token", "{{.spec.data[*].value}}", ".spec.port"]
  - apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: [sealed]
    paths: [".data.*", ".binaryData.*"]
  - apiGroups: [""]
    resources: [services]
    namespaces: ["*"]
    names: ["*"]
    paths: [".spec.externalName"]
"#
    )
}

fn definition() -> Value {
    let text = json!({"type": "string", "maxLength": 64});
    let data = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": text, "value": text}}});
    let spec = json!({"type": "object", "properties": {"token": text, "data": data, "port": {"type": "integer"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("lockers.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "lockers", "singular": "locker", "kind": "Locker"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                "additionalPrinterColumns": [
                    {"name": "Token", "type": "string", "jsonPath": ".spec.token", "description": "what opens it"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    })
}

struct Story {
    scene: Scene,
    kubectl: Kubectl,
    canary: String,
}

impl Story {
    fn new() -> Result<Self> {
        let scene = Scene::with(|settings, namespace| {
            Ok(settings
                .recording_by(EVERYTHING)
                .with_policy("sensitive.yaml", &policy(&namespace.name)))
        })?;
        let administrator =
            Kubectl::with_kubeconfig(&scene.cluster.kubeconfig, &scene.namespace.name)?;
        let apply = ["apply", "--server-side"];
        administrator.run_with(&apply, &definition())?.success()?;
        let definition = format!("crd/lockers.{GROUP}");
        administrator.ok(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &definition,
        ])?;
        let kubectl = scene.kubectl()?;
        eventually("the lockers", Duration::from_secs(60), || {
            let listed = kubectl.run(&["get", "lockers"])?;
            Ok(listed.is_success().then_some(()))
        })?;
        Ok(Self {
            kubectl,
            canary: canary(),
            scene,
        })
    }

    fn locker(&self, name: &str, suffix: &str) -> Value {
        let value = format!("{}{suffix}", self.canary);
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Locker", "metadata": {"name": name},
            "spec": {"token": value, "data": [{"name": "first", "value": value}], "port": 4711},
        })
    }

    /// The agent sees that there is something, and not what.
    #[track_caller]
    fn assert_hidden(&self, text: &str) {
        assert!(!text.contains(&self.canary), "{text}");
        assert!(
            !text.contains(&BASE64_STANDARD.encode(&self.canary)[..24]),
            "{text}"
        );
        assert!(text.contains(PLACEHOLDER), "{text}");
    }

    #[track_caller]
    fn shows_hidden(&self, arguments: &[&str]) -> Result<String> {
        let shown = self.kubectl.ok(arguments)?;
        self.assert_hidden(&shown);
        Ok(shown)
    }

    fn put(&self, path: &str, format: &str, body: &[u8]) -> Result<Response> {
        let headers = [("Content-Type", format)];
        let target = self.scene.namespace.path(path);
        self.scene.start("PUT", &target, &headers, body)?.response()
    }
}

#[test]
fn what_a_policy_calls_sensitive_is_in_no_answer_and_no_record() -> Result<()> {
    let story = Story::new()?;
    apply_read_and_watch(&story)?;
    patch_and_guess(&story)?;
    write_back(&story)?;
    use_a_sealed_config_map(&story)?;
    list_what_kubernetes_prints(&story)?;
    let records = records(&story)?;
    let Story { scene, canary, .. } = story;
    sweep_files(scene, records, &[&canary])
}

fn apply_read_and_watch(story: &Story) -> Result<()> {
    let kubectl = &story.kubectl;
    let events = ["--watch", "--output-watch-events"];
    let whole = kubectl.follow(&[&["get", "lockers", "-o", "json"], &events[..]].concat())?;
    let table = kubectl.follow(&["get", "lockers", "--watch"])?;
    for suffix in ["", "2"] {
        let applied = kubectl.run_with(&["apply", "-o", "yaml"], &story.locker("one", suffix))?;
        story.assert_hidden(&applied.success()?);
    }
    let shown = story.shows_hidden(&[
        "get",
        "locker",
        "one",
        "-o",
        "yaml",
        "--show-managed-fields",
    ])?;
    ensure!(shown.contains("name: first"), "{shown}");
    ensure!(shown.contains("f:token"), "{shown}");
    story.shows_hidden(&["get", "lockers", "-o", "json"])?;
    let shown = story.shows_hidden(&["get", "lockers", "-o", "wide"])?;
    ensure!(
        shown.lines().any(|line| line.starts_with("one ")),
        "{shown}"
    );
    for watch in [whole, table] {
        watch.wait_for("a locker", |line| {
            assert!(!line.contains(&story.canary), "{line}");
            line.contains(PLACEHOLDER)
        })?;
    }
    let server_side = [
        "apply",
        "--server-side",
        "--field-manager=other",
        "-o",
        "yaml",
    ];
    let applied = kubectl.run_with(&server_side, &story.locker("two", ""))?;
    story.assert_hidden(&applied.success()?);
    Ok(())
}

fn patch_and_guess(story: &Story) -> Result<()> {
    let Story {
        kubectl, canary, ..
    } = story;
    let merge = json!({"spec": {"token": format!("{canary}3")}});
    let added = json!([{"op": "add", "path": "/spec/data/-", "value": {"name": "second", "value": canary}}]);
    for (kind, patch) in [("merge", merge), ("json", added)] {
        let patch = patch.to_string();
        let patched = [
            "patch", "locker", "one", "--type", kind, "-p", &patch, "-o", "yaml",
        ];
        story.shows_hidden(&patched)?;
    }
    let refused = |kind: &str, patch: &Value, more: &[&str]| -> Result<String> {
        let patch = patch.to_string();
        let patched = ["patch", "locker", "one", "--type", kind, "-p", &patch];
        let output = kubectl.run(&[&patched[..], more].concat())?;
        ensure!(!output.is_success(), "{output:?}");
        Ok(output.stderr)
    };
    // The last name is one that is no secret elsewhere.
    let guess = json!([{"op": "test", "path": "/spec/port", "value": 4711}]);
    let said = refused("json", &guess, &[])?;
    ensure!(said.contains("could read or compare values"), "{said}");
    let guess = json!({"spec": {"port": 4711}});
    let said = refused("merge", &guess, &["--dry-run=server"])?;
    ensure!(said.contains("a dry run would tell"), "{said}");
    let too_long = json!({"spec": {"token": canary.repeat(4)}});
    let said = refused("merge", &too_long, &[])?;
    ensure!(!said.contains(canary.as_str()), "{said}");
    Ok(())
}

fn write_back(story: &Story) -> Result<()> {
    let seen = story.kubectl.json(&["get", "locker", "one"])?;
    let output = story.kubectl.run_with(&["replace"], &seen)?;
    ensure!(
        !output.is_success() && output.stderr.contains("holds a placeholder"),
        "{output:?}"
    );
    Ok(())
}

fn use_a_sealed_config_map(story: &Story) -> Result<()> {
    let Story {
        scene,
        kubectl,
        canary,
        ..
    } = story;
    let api = scene.namespace.api();
    for (name, value) in [("sealed", canary.as_str()), ("open", MARKER)] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}});
        kubectl.run_with(&["apply"], &map)?.success()?;
    }
    let bytes = BASE64_STANDARD.encode(canary);
    let yaml = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sealed}}\ndata:\n  a: {canary}\nbinaryData: {{b: {bytes}}}\n"
    );
    let answer = story.put("configmaps/sealed", "application/yaml", yaml.as_bytes())?;
    ensure!(answer.status == 200, "{}", answer.text());
    story.assert_hidden(&answer.text());
    let protobuf = "application/vnd.kubernetes.protobuf";
    let stored = api.read(&scene.namespace.path("configmaps/sealed"), protobuf)?;
    ensure!(
        String::from_utf8_lossy(&stored).contains(canary.as_str()),
        "it is not stored"
    );
    let answer = story.put("configmaps/sealed", protobuf, &stored)?;
    ensure!(answer.status == 200, "{}", answer.text());
    story.assert_hidden(&answer.text());
    story.shows_hidden(&["get", "configmap", "sealed", "-o", "yaml"])?;
    story.shows_hidden(&["describe", "configmap", "sealed"])?;
    let all = story.shows_hidden(&["get", "configmaps", "-o", "json"])?;
    ensure!(
        all.contains(MARKER),
        "the one beside it is hidden, too: {all}"
    );
    ensure!(
        kubectl
            .ok(&["get", "configmap", "open", "-o", "yaml"])?
            .contains(MARKER)
    );
    Ok(())
}

/// Kubernetes' own columns show fields too.
fn list_what_kubernetes_prints(story: &Story) -> Result<()> {
    let name = format!("{}.example", story.canary.to_lowercase());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"},
        "spec": {"type": "ExternalName", "externalName": name}});
    let applied = story.kubectl.run_with(&["apply"], &service)?;
    applied.success()?;
    for wide in [&[][..], &["-o", "wide"]] {
        let shown = story.kubectl.ok(&[&["get", "services"], wide].concat())?;
        ensure!(
            !shown.contains(&name) && shown.contains(PLACEHOLDER),
            "{shown}"
        );
        let columns = shown.lines().find(|line| line.starts_with("elsewhere "));
        let columns: Vec<_> = columns
            .context("its name is hidden")?
            .split_whitespace()
            .collect();
        ensure!(
            columns.get(5).is_some_and(|age| age.len() < 5),
            "its age is hidden: {shown}"
        );
    }
    let shown = story.kubectl.ok(&["get", "configmaps"])?;
    ensure!(!shown.contains(PLACEHOLDER), "{shown}");
    Ok(())
}

/// As a person is shown them.
fn records(story: &Story) -> Result<Vec<(String, Vec<u8>)>> {
    let scene = &story.scene;
    let calls = scene.gateway.audit_list(&["--resource", "lockers"])?;
    ensure!(
        calls.len() > 8,
        "only {} calls on lockers were recorded",
        calls.len()
    );
    let shown = calls.iter().map(|call| {
        let audit_id = call["auditID"].as_str().context("no id")?;
        let shown = scene
            .gateway
            .command(&["audit", "show", "--config", "gateway.yaml", audit_id])?
            .success()?;
        Ok((format!("audit show {audit_id}"), shown.into_bytes()))
    });
    shown.collect()
}
