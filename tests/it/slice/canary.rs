//! A secret that an agent handles with real kubectl is nowhere in what the gateway keeps or says.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use harness::{GoClient, Kubectl, Tools, eventually};
use serde_json::{Value, json};

use self::sweep::sweep;
use super::{Scene, levels::outcome};

mod asked;
mod places;
pub(super) mod sweep;

pub(super) const MARKER: &str = "visiblemarkerofanordinaryvalue";

/// What `typed` puts into its Secret.
const OF_THE_GO_CLIENT: &str = "correct horse battery staple";

pub(super) const EVERYTHING: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
";

const FORMATS: [&str; 7] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
];

const PYTHON: &str = r#"
import sys
from kubernetes import client, config

kubeconfig, namespace, canary = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
core = client.CoreV1Api()
secret = client.V1Secret(metadata=client.V1ObjectMeta(name="python"), string_data={"password": canary})
core.create_namespaced_secret(namespace, secret)
core.patch_namespaced_secret("python", namespace, {"stringData": {"other": canary}})
core.list_namespaced_secret(namespace)
"#;

#[test]
fn a_secret_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = Scene::new()?;
    let canary = canary();
    let minted = handle_secrets(&scene.kubectl()?, &canary)?;
    let token = scene.token.clone();
    sweep(scene, &[&canary, &token, &minted])
}

/// The API server quotes the whole stored object in some of its refusals.
#[test]
fn a_secret_that_a_refusal_quotes_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = Scene::new()?;
    let kubectl = scene.kubectl()?;
    let canary = canary();
    kubectl
        .run_with(&["create"], &secret("made", &canary))?
        .success()?;
    for patch in [
        json!({"data": {"password": 7}}),
        json!({"stringData": 7}),
        json!({"data": {"k": canary}, "stringData": 7}),
    ] {
        kubectl
            .run(&[
                "patch",
                "secret",
                "made",
                "--type",
                "merge",
                "--patch",
                &patch.to_string(),
            ])?
            .failure()?;
    }
    kubectl
        .run_with(&["create"], &secret("made", &canary))?
        .failure()?;
    kubectl
        .run_with(&["create"], &secret(&canary.to_uppercase(), &canary))?
        .failure()?;
    sweep(scene, &[&canary])
}

/// The credential of a browser is in the handshake itself, and what it runs in the query.
#[test]
fn a_token_among_subprotocols_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = Scene::new()?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let canary = canary();
    let token = scene.token.clone();
    let encoded = BASE64_URL_SAFE_NO_PAD.encode(&token);
    let bearer = format!("base64url.bearer.authorization.k8s.io.{encoded}, v4.channel.k8s.io");
    let target = format!("pods/shell/exec?command=test&command=-n&command={canary}&stdout=true");
    let target = scene.namespace.path(&target);
    let said = scene
        .gateway
        .client()?
        .websocket(&target, &[("Sec-WebSocket-Protocol", &bearer)])?
        .rest()?;
    let status: Value = serde_json::from_slice(&said[&3])?;
    assert_eq!(status["status"], "Success");
    for headers in [
        &[("Sec-WebSocket-Protocol", &*bearer.to_uppercase())][..],
        &[
            ("Sec-WebSocket-Protocol", &bearer),
            ("Authorization", "Bearer x"),
        ],
    ] {
        let refused = scene.gateway.client()?.websocket(&target, headers);
        ensure!(refused.is_err(), "{headers:?}");
    }
    // What the sweep shows call by call.
    for _ in 0..4 {
        scene.kubectl()?.ok(&["get", "secrets"])?;
    }
    sweep(scene, &[&canary, &token, &encoded])
}

/// What a container prints comes as a log and over both protocols of exec, and is recorded without the secrets in it.
#[test]
fn a_secret_that_a_program_prints_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = Scene::with(|settings, _| Ok(settings.with_policy("acme.yaml", OWN_DETECTOR)))?;
    let canary = canary();
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("printed"), printed(&canary))?;
    let print = format!("cat {}", path("printed"));
    let container = format!(
        "{print}; until [ -e {} ]; do sleep 0.1; done; {print}",
        path("end")
    );
    let command = json!({"command": ["sh", "-c", container]});
    scene.namespace.create_running_pod("shell", &command)?;
    let kubectl = scene.kubectl()?;
    eventually("what the program prints", Duration::from_secs(60), || {
        let said = kubectl.ok(&["logs", "shell"])?;
        Ok(said.contains(OF_THE_PROGRAM).then_some(()))
    })?;
    // Once more at the end, which ends it.
    let following = kubectl.follow(&["logs", "-f", "shell"])?;
    following.wait_for("the log", |line| line.contains(OF_THE_PROGRAM))?;
    let script = format!("{print}; {print} >&2; echo {canary} >/dev/null; exit 7");
    for websockets in ["true", "false"] {
        let kubectl = scene
            .kubectl()?
            .with_variable("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        let ran = kubectl.run(&["exec", "shell", "--", "sh", "-c", &script])?;
        ensure!(ran.status == 7 && ran.stdout.contains(&canary), "{ran:?}");
    }
    fs::write(path("end"), "")?;

    for times in [1, 2] {
        let call = with_body(&scene, "log", |call| {
            call["maskedResponse"] == json!(SECRETS_PRINTED * times)
        })?;
        let said = object(&call);
        let said = said.as_str().context("the log is no text")?;
        assert_eq!(said.matches(OF_THE_PROGRAM).count(), times, "{call}");
        assert_eq!(call["bodyState"], "inline", "{call}");
    }
    for verb in ["get", "create"] {
        let call = with_body(&scene, "exec", |call| call["verb"] == verb)?;
        let said = object(&call);
        let stream = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        assert!(stream("stdout").contains(OF_THE_PROGRAM), "{call}");
        assert_eq!(stream("stdout"), stream("stderr"), "{call}");
        assert_eq!(said["exitStatus"]["exitCode"], 7, "{call}");
        assert_eq!(
            (
                &call["responseStatus"]["code"],
                &call["responseStatus"]["reason"]
            ),
            (&json!(101), &json!("NonZeroExitCode")),
            "{call}"
        );
        assert_eq!(call["maskedResponse"], json!(2 * SECRETS_PRINTED), "{call}");
        assert_eq!(call["bodyState"], "inline", "{call}");
    }
    // What the sweep shows call by call.
    for _ in 0..4 {
        scene.kubectl()?.ok(&["get", "secrets"])?;
    }
    sweep(scene, &[&canary])
}

/// Allows nothing that is not allowed anyway.
const OWN_DETECTOR: &str = r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: acme}
spec:
  subjects: [{all: "*"}]
  rules:
  - {name: version, effect: Allow, verbs: [get], nonResourceURLs: [/version]}
  detectors:
  - name: acme-token
    prefix: acme_
    characters: A-Za-z0-9
    length: 12
    check: LooksRandom
    mustMatch: ["acme_4fK9zQ2mX7pL8wRt"]
    mustNotMatch: [acme_productionwest]
"#;

/// As programs print secrets that only their looks give away.
fn printed(canary: &str) -> String {
    let key = format!("-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----");
    format!(
        "Authorization: Bearer {canary}\nacme_{canary}\ndb.password={canary}\npostgres://user:{canary}@db/shop\n{key}\n{OF_THE_PROGRAM}\n"
    )
}

/// In what [`printed`] makes.
const SECRETS_PRINTED: usize = 5;

const OF_THE_PROGRAM: &str = "and an ordinary line";

/// The outcome of a call on a subresource of pods.
fn with_body(scene: &Scene, subresource: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let call = scene.outcome_of(&format!("the record of a {subresource}"), |call| {
        call["objectRef"]["subresource"] == subresource && wanted(call)
    })?;
    outcome(scene, call["auditID"].as_str().context("no id")?)
}

/// The body of a record's answer.
fn object(call: &Value) -> Value {
    let text = call["responseObject"].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn scene_that_records_everything() -> Result<Scene> {
    Scene::with(|settings, _| Ok(settings.recording_by(EVERYTHING)))
}

/// Each where Kubernetes keeps it, in each format that its API server speaks.
#[test]
fn a_secret_in_every_place_and_format_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = scene_that_records_everything()?;
    let canary = canary();
    let kubectl = scene.kubectl()?;
    set_environments(&scene, &kubectl, &canary)?;
    write_beside_secrets(&kubectl, &canary)?;
    write_in_yaml(&scene, &canary)?;
    read_in_every_format(&scene)?;
    let go = GoClient::new(&kubectl.kubeconfig(), &scene.namespace.name)?;
    go.lines(&["typed"])?;
    handle_in_python(&kubectl, &canary)?;
    sweep(scene, &[&canary, OF_THE_GO_CLIENT])
}

/// Literal values of environment variables, by every kind of patch.
fn set_environments(scene: &Scene, kubectl: &Kubectl, canary: &str) -> Result<()> {
    let environment = |value: String| json!([{"name": "GREETING", "value": value}]);
    let deployment = deployment(&environment(canary.to_owned()));
    kubectl.run_with(&["apply"], &deployment)?.success()?;
    kubectl
        .run_with(
            &["apply", "--server-side", "--force-conflicts"],
            &deployment,
        )?
        .success()?;
    kubectl.ok(&["set", "env", "deployment/web", &format!("SET={canary}")])?;
    let containers = |value: String| {
        json!({"spec": {"template": {"spec": {"containers": [
            {"name": "web", "image": "registry.invalid/web:1", "env": environment(value)},
        ]}}}})
    };
    let env = "/spec/template/spec/containers/0/env";
    for (kind, patch) in [
        ("strategic", containers(format!("{canary}1"))),
        ("merge", containers(format!("{canary}2"))),
        (
            "json",
            json!([{"op": "replace", "path": format!("{env}/0/value"), "value": canary}]),
        ),
        (
            "json",
            json!([{"op": "add", "path": format!("{env}/-"), "value": {"name": "ADDED", "value": canary}}]),
        ),
    ] {
        let patch = patch.to_string();
        kubectl.ok(&[
            "patch",
            "deployment",
            "web",
            "--type",
            kind,
            "--patch",
            &patch,
        ])?;
    }
    kubectl.ok(&[
        "get",
        "deployments,replicasets,controllerrevisions,pods",
        "-o",
        "yaml",
    ])?;
    let deployments = format!(
        "/apis/apps/v1/namespaces/{}/deployments",
        scene.namespace.name
    );
    for accept in FORMATS {
        scene.call("GET", &deployments, &[("Accept", accept)])?;
    }
    Ok(())
}

fn deployment(environment: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.invalid/web:1", "env": environment}]},
            },
        },
    })
}

/// Where only its looks give a secret away.
fn write_beside_secrets(kubectl: &Kubectl, canary: &str) -> Result<()> {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----\n");
    let configmap = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "careless", "annotations": {"note": format!("Authorization: Bearer {canary}")}},
        "data": {
            "database": format!("postgres://user:{canary}@db/shop"),
            "tls.key": pem,
            "application.properties": format!("db.password={canary}\n"),
            "values.yaml": format!("auth:\n  token: {canary}\n"),
            "apiKey": canary,
        },
    });
    kubectl.run_with(&["apply"], &configmap)?.success()?;
    kubectl.ok(&["get", "configmap", "careless", "-o", "yaml"])?;
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "careless"},
        "involvedObject": {"kind": "ConfigMap", "name": "careless", "namespace": kubectl.namespace()},
        "message": format!("cannot pull from https://user:{canary}@registry.invalid/"),
    });
    kubectl.run_with(&["create"], &event)?.success()?;
    kubectl.ok(&["get", "events", "-o", "json"])?;
    kubectl
        .run_with(&["create"], &secret("made", canary))?
        .success()?;
    Ok(())
}

/// kubectl itself sends JSON; other clients send what they read from a file.
fn write_in_yaml(scene: &Scene, canary: &str) -> Result<()> {
    let secrets = scene.namespace.path("secrets");
    let yaml = |name: &str, note: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, annotations: {{note: {note}}}}}\nstringData:\n  k: |\n    {canary}\n"
        )
    };
    let applied = format!("{secrets}/applied-yaml?fieldManager=test");
    let anchored = format!("&note {canary}, again: *note");
    for (method, target, content_type, body, code) in [
        (
            "POST",
            &secrets,
            "application/yaml",
            yaml("yaml", canary),
            201,
        ),
        (
            "PATCH",
            &applied,
            "application/apply-patch+yaml",
            yaml("applied-yaml", canary),
            201,
        ),
        // Not written, since the gateway reads no anchors before it judges, and recorded all the same.
        (
            "POST",
            &secrets,
            "application/yaml",
            yaml("anchored", &anchored),
            403,
        ),
    ] {
        let headers = [("Content-Type", content_type)];
        let answer = scene
            .start(method, target, &headers, body.as_bytes())?
            .response()?;
        ensure!(answer.status == code, "{}", answer.text());
    }
    Ok(())
}

fn read_in_every_format(scene: &Scene) -> Result<()> {
    let secrets = scene.namespace.path("secrets");
    let watch = format!("{secrets}?watch=1&resourceVersion=0&timeoutSeconds=1");
    for accept in FORMATS {
        for target in [&secrets, &format!("{secrets}/made"), &watch] {
            let answer = scene.call("GET", target, &[("Accept", accept)])?;
            // Not every format is spoken of everything.
            ensure!([200, 406].contains(&answer.status), "{}", answer.text());
        }
    }
    Ok(())
}

fn handle_in_python(kubectl: &Kubectl, canary: &str) -> Result<()> {
    let path = kubectl.kubeconfig();
    let path = path.to_str().context("a temporary path is UTF-8")?;
    let arguments = [path, kubectl.namespace(), canary];
    Tools::from_env()?
        .run_python(PYTHON, &arguments)?
        .success()?;
    Ok(())
}

/// Everything one does with a Secret; answers with a token that was minted.
fn handle_secrets(kubectl: &Kubectl, canary: &str) -> Result<String> {
    let literal = format!("--from-literal=password={canary}");
    kubectl.ok(&["create", "secret", "generic", "made", &literal])?;
    kubectl
        .run_with(&["apply"], &secret("applied", canary))?
        .success()?;
    kubectl
        .run_with(&["apply"], &secret("applied", &format!("{canary}2")))?
        .success()?;
    kubectl
        .run_with(&["apply", "--server-side"], &secret("served", canary))?
        .success()?;
    for output in ["name", "json", "yaml", "wide"] {
        kubectl.ok(&["get", "secrets", "-o", output])?;
        kubectl.ok(&["get", "secret", "made", "-o", output])?;
    }
    kubectl.ok(&["describe", "secret", "made"])?;
    kubectl.ok(&["annotate", "secret", "made", &format!("note={canary}")])?;
    for (kind, patch) in patches(canary) {
        kubectl.ok(&[
            "patch",
            "secret",
            "made",
            "--type",
            kind,
            "--patch",
            &patch.to_string(),
        ])?;
    }
    kubectl
        .run_with(&["replace"], &secret("applied", canary))?
        .success()?;
    let minted = kubectl.ok(&["create", "token", "coder", "--audience=sallyport"])?;
    kubectl.ok(&["delete", "secret", "made", "applied"])?;
    Ok(minted.trim().to_owned())
}

fn secret(name: &str, canary: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {"note": canary}},
        "stringData": {"password": canary, "nested.json": json!({"password": canary}).to_string()},
    })
}

fn patches(canary: &str) -> [(&'static str, Value); 3] {
    [
        ("strategic", json!({"stringData": {"password": canary}})),
        ("merge", json!({"stringData": {"other": canary}})),
        (
            "json",
            json!([{"op": "add", "path": "/stringData", "value": {"third": canary}}]),
        ),
    ]
}

/// Letters and digits alone, so that no encoding but base64 changes it.
pub(super) fn canary() -> String {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("canary{nanos:x}sings{:x}", std::process::id())
}
