//! What no policy can allow, tried as an attacker would: the agent here may do everything in its namespace.

use anyhow::Result;
use serde_json::{Value, json};

use super::{JSON, Scene};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const APPLY: &str = "application/apply-patch+yaml";

#[test]
fn a_secret_that_holds_a_token_for_the_api_server_is_not_made() -> Result<()> {
    let scene = Scene::new()?;
    let secrets = scene.namespace.path("secrets");
    let object = token_secret();
    let refusals = [
        scene.send("POST", &secrets, JSON, &object)?,
        scene.send_bytes("POST", &secrets, PROTOBUF, &token_secret_in_protobuf())?,
        scene.send(
            "PATCH",
            &format!("{secrets}/stolen?fieldManager=agent"),
            APPLY,
            &object,
        )?,
        scene.send_bytes("POST", &secrets, "application/yaml", TOKEN_SECRET_IN_YAML)?,
        scene.send("POST", &secrets, JSON, &bootstrap_token())?,
    ];
    for refusal in refusals {
        let message = refusal.message(403)?;
        assert!(message.contains("built-in/floor"), "{message}");
    }
    let kept = scene.namespace.api().get(&secrets)?;
    assert_eq!(kept["items"], json!([]), "{kept}");
    Ok(())
}

/// A bootstrap token is a bearer token of the API server as it is written.
#[test]
fn a_bootstrap_token_is_neither_made_nor_taken_over() -> Result<()> {
    let scene = Scene::with(|settings, _| Ok(settings.with_policy("system.yaml", SYSTEM)))?;
    let api = scene.namespace.api();
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let kept = format!("{secrets}/bootstrap-token-fedcba");
    let mut object = bootstrap_token();
    object["metadata"]["name"] = json!("bootstrap-token-fedcba");
    api.create(secrets, &object)?;
    let merge = json!({"stringData": {"token-secret": "0123456789abcdef"}});
    let patch =
        json!([{"op": "add", "path": "/data/token-secret", "value": "MDEyMzQ1Njc4OWFiY2RlZg=="}]);
    let refusals: Result<Vec<_>> = [
        ("POST", secrets, JSON, &bootstrap_token()),
        ("PUT", kept.as_str(), JSON, &object),
        (
            "PATCH",
            kept.as_str(),
            "application/merge-patch+json",
            &merge,
        ),
        (
            "PATCH",
            kept.as_str(),
            "application/json-patch+json",
            &patch,
        ),
    ]
    .into_iter()
    .map(|(method, target, format, body)| {
        let response = scene.send(method, target, format, body)?;
        response.message(403)
    })
    .collect();
    let is_as_it_was = api.get(&kept)?["data"]["token-secret"] == json!("ZmVkY2JhOTg3NjU0MzIxMA==");
    api.delete(&kept)?;
    for message in refusals? {
        assert!(message.contains("built-in/floor-token-secret"), "{message}");
    }
    assert!(is_as_it_was, "the token was changed");
    Ok(())
}

/// Field 2^32 + 2 is field 2 to Go's generated code, which takes the last of several.
#[test]
fn a_second_token_request_cannot_hide_behind_a_long_tag() -> Result<()> {
    let scene = Scene::new()?;
    let target = scene.namespace.path("serviceaccounts/coder/token");
    let spec = |audience: &str| field(2, &field(1, audience.as_bytes()));
    let long_tag = [0x92, 0x80, 0x80, 0x80, 0x80, 0x01];
    let hidden = field(1, b"https://kubernetes.default.svc.cluster.local");
    let hidden = field(2, &hidden);
    let length = u8::try_from(hidden.len())?;
    let body = [
        b"k8s\0".to_vec(),
        field(
            1,
            &[
                field(1, b"authentication.k8s.io/v1"),
                field(2, b"TokenRequest"),
            ]
            .concat(),
        ),
        field(2, &spec("sallyport")),
        long_tag.to_vec(),
        vec![length],
        hidden,
    ]
    .concat();
    scene
        .send_bytes("POST", &target, PROTOBUF, &body)?
        .refusal(403)?;
    let honest = json!({"spec": {"audiences": ["sallyport"]}});
    let minted = scene.send("POST", &target, JSON, &honest)?;
    assert_eq!(minted.status, 201, "{}", minted.text());
    Ok(())
}

#[test]
fn a_patch_cannot_ask_what_is_in_a_secret_or_copy_it_into_sight() -> Result<()> {
    let scene = Scene::new()?;
    let secrets = scene.namespace.path("secrets");
    let object = json!({"metadata": {"name": "kept"}, "stringData": {"password": "swordfish"}});
    let made = scene.send("POST", &secrets, JSON, &object)?;
    assert_eq!(made.status, 201, "{}", made.text());
    for operation in [
        json!({"op": "test", "path": "/data/password", "value": "c3dvcmRmaXNo"}),
        json!({"op": "copy", "from": "/data/password", "path": "/metadata/labels/seen"}),
        json!({"op": "move", "from": "/data", "path": "/metadata/annotations"}),
    ] {
        let patch = json!([operation]);
        let target = format!("{secrets}/kept");
        scene
            .send("PATCH", &target, "application/json-patch+json", &patch)?
            .refusal(403)?;
    }
    Ok(())
}

#[test]
fn an_apply_does_not_create_what_a_policy_lets_nobody_create() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("frozen.yaml", &frozen(&namespace.name)))
    })?;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}});
    let target = format!("{}/new?fieldManager=agent", scene.configmaps());
    let message = scene.send("PATCH", &target, APPLY, &body)?.message(403)?;
    assert!(message.contains("frozen/no-new-settings"), "{message}");
    assert!(scene.configmap("new").is_err(), "it was created");
    Ok(())
}

#[test]
fn the_definitions_of_our_own_objects_are_not_the_agents() -> Result<()> {
    let scene = Scene::new()?;
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1alpha1.sallyport.dev"},
        "spec": {"group": "sallyport.dev", "version": "v1alpha1", "groupPriorityMinimum": 1, "versionPriority": 1},
    });
    let target = "/apis/apiregistration.k8s.io/v1/apiservices";
    scene.send("POST", target, JSON, &service)?.refusal(403)?;
    Ok(())
}

fn token_secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "stolen", "annotations": {"kubernetes.io/service-account.name": "coder"}},
    })
}

fn bootstrap_token() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef"},
        "stringData": {
            "token-id": "fedcba", "token-secret": "fedcba9876543210", "usage-bootstrap-authentication": "true",
        },
    })
}

/// Lets the agent write Secrets of the control plane.
const SYSTEM: &str = r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: system}
spec:
  subjects: [{all: "*"}]
  rules:
  - name: all
    effect: Allow
    verbs: ["*"]
    apiGroups: [""]
    resources: [secrets]
    namespaces: [kube-system]
    names: ["*"]
"#;

const TOKEN_SECRET_IN_YAML: &[u8] = b"kind: Secret\napiVersion: v1\ntype: kubernetes.io/service-account-token\nmetadata:\n  name: stolen\n  annotations: {kubernetes.io/service-account.name: coder}\n";

/// `Secret{metadata: 1{name: 1}, type: 3}` in its envelope.
fn token_secret_in_protobuf() -> Vec<u8> {
    let object = [
        field(1, &field(1, b"stolen")),
        field(3, b"kubernetes.io/service-account-token"),
    ]
    .concat();
    let kind = [field(1, b"v1"), field(2, b"Secret")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &object)].concat()
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short values only");
    [vec![number << 3 | 2, length], value.to_vec()].concat()
}

fn frozen(namespace: &str) -> String {
    format!(
        r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: frozen}}
spec:
  subjects: [{{all: "*"}}]
  rules:
  - name: no-new-settings
    effect: Deny
    verbs: [create]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    reason: settings are frozen
"#
    )
}
