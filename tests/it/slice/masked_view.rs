//! An agent under `agentView: Masked`: real clients work, and see placeholders where secrets are.

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use harness::{GoClient, Kubectl, Output, Tools};
use serde_json::{Value, json};

use super::Scene;

mod guesses;
mod helm;
mod traced;
mod warnings;
mod writing;

const CANARY: &str = "correct-horse-battery-staple-canary";

/// The agent may do everything in its namespace, and sees secrets only masked.
fn policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: masked}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: read
    effect: Allow
    verbs: [get, list, watch]
    apiGroups: ["*"]
    resources: ["*"]
    namespaces: [{namespace}]
    names: ["*"]
    agentView: Masked
"#
    )
}

/// With the Secret `db`, which kubectl applied.
fn scene() -> Result<Scene> {
    let scene = Scene::with(|settings, namespace| {
        Ok(settings.with_policy("masked.yaml", &policy(&namespace.name)))
    })?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "labels": {"app": "shop"}, "annotations": {"note": CANARY}},
        "stringData": {"password": CANARY, "user": "shop"},
    });
    let administrator = Kubectl::with_kubeconfig(&scene.cluster.kubeconfig, &scene.namespace.name)?;
    administrator
        .run_with(&["apply", "-n", &scene.namespace.name], &secret)?
        .success()?;
    Ok(scene)
}

#[track_caller]
fn assert_hidden(text: &str) {
    for form in [CANARY.to_owned(), BASE64_STANDARD.encode(CANARY)] {
        for window in form.as_bytes().windows(12) {
            let window = String::from_utf8_lossy(window);
            assert!(!text.contains(&*window), "{window} is in {text}");
        }
    }
}

fn decoded(value: &Value) -> Result<String> {
    let text = value.as_str().context("no text")?;
    Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
}

fn said(output: &Output) -> String {
    format!("{}\n{}", output.stdout, output.stderr)
}

#[test]
fn kubectl_shows_placeholders_and_says_so() -> Result<()> {
    let scene = scene()?;
    for kubectl in kubectls(&scene)? {
        for arguments in [
            &["get", "secret", "db", "-o", "yaml"][..],
            &["get", "secret", "db", "-o", "json"],
            &["get", "secrets", "-o", "yaml"],
            &["get", "secrets"],
            &["get", "secrets", "-o", "wide"],
            &["describe", "secret", "db"],
            &[
                "get",
                "secret",
                "db",
                "--output",
                "jsonpath={.data.password}",
            ],
        ] {
            let output = kubectl.run(arguments)?;
            ensure!(output.is_success(), "{arguments:?}: {output:?}");
            assert_hidden(&said(&output));
        }
        let output = kubectl.run(&["get", "secret", "db", "-o", "json"])?;
        let secret: Value = serde_json::from_str(&output.stdout)?;
        let placeholder = decoded(&secret["data"]["password"])?;
        ensure!(
            placeholder.starts_with("sallyport-masked-"),
            "{placeholder}"
        );
        ensure!(secret["metadata"]["labels"]["app"] == "shop", "{secret}");
        ensure!(
            output.stderr.contains("values in this answer are masked"),
            "no warning: {}",
            output.stderr
        );
        let described = kubectl.ok(&["describe", "secret", "db"])?;
        let size = format!("password:  {} bytes", placeholder.len());
        ensure!(described.contains(&size), "{described}");
        let missing = kubectl.run(&["get", "secret", "none"])?;
        ensure!(missing.stderr.contains("not found"), "{}", missing.stderr);
    }
    Ok(())
}

/// The newest kubectl, and 1.20.
fn kubectls(scene: &Scene) -> Result<Vec<Kubectl>> {
    let mut all = vec![scene.kubectl()?];
    all.push(scene.kubectl()?.with_program(&Tools::old_kubectl()?));
    Ok(all)
}

#[test]
fn the_record_shows_what_was_hidden_and_which_placeholders_were_given() -> Result<()> {
    let scene = scene()?;
    let target = scene.namespace.path("secrets/db");
    let response = scene.call("GET", &target, &[("Accept-Encoding", "gzip")])?;
    assert_hidden(&response.text());
    let secret: Value = serde_json::from_slice(&response.body)?;
    let record = scene.record(&response)?;
    let placeholders = record["viewPlaceholders"].as_array().context("none")?;
    let seen = decoded(&secret["data"]["password"])?;
    ensure!(
        placeholders
            .iter()
            .filter_map(Value::as_str)
            .any(|digest| seen.ends_with(digest)),
        "{seen} is not among {placeholders:?}"
    );
    ensure!(record["secretsSeen"][0]["name"] == "db", "{record}");
    // The length on record is of what the API server sent, and not of what the agent got.
    let sent = scene.namespace.api().read(&target, "application/json")?;
    ensure!(sent.len() != response.body.len(), "they differ in nothing");
    assert_eq!(record["responseBytes"], sent.len().to_string());
    Ok(())
}

#[test]
fn a_watch_shows_each_change_masked() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    for arguments in [
        &[
            "get",
            "secrets",
            "-o",
            "json",
            "--watch",
            "--output-watch-events",
        ][..],
        &["get", "secret", "db", "-o", "yaml", "--watch"],
    ] {
        let watch = kubectl.follow(arguments)?;
        watch.wait_for("the Secret", |line| {
            assert_hidden(line);
            line.contains("c2FsbHlwb3J0LW1hc2tlZC")
        })?;
        let marked = format!("mark-{}", arguments.len());
        let labels = json!({"metadata": {"labels": {"app": marked}}});
        scene
            .namespace
            .api()
            .patch(&scene.namespace.path("secrets/db"), &labels)?;
        watch.wait_for("the change", |line| {
            assert_hidden(line);
            line.contains(&marked)
        })?;
    }
    Ok(())
}

/// A view of one Secret, beside rules that show all of them.
#[test]
fn a_secret_that_is_masked_by_name_is_masked_in_lists_and_watches() -> Result<()> {
    let scene = Scene::with(|settings, namespace| {
        let named = policy(&namespace.name).replace(r#"names: ["*"]"#, "names: [db]");
        Ok(settings.with_policy("masked.yaml", &named))
    })?;
    let api = scene.namespace.api();
    for (name, value) in [("db", CANARY), ("other", "in plain sight")] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"password": value}});
        api.create(&scene.namespace.path("secrets"), &secret)?;
    }
    let kubectl = scene.kubectl()?;
    for arguments in [
        &["get", "secrets", "-o", "json"][..],
        &["get", "secret", "db", "-o", "json"],
        &[
            "get",
            "secrets",
            "--field-selector=metadata.name=db",
            "-o",
            "json",
        ],
    ] {
        let listed = kubectl.ok(arguments)?;
        assert_hidden(&listed);
        ensure!(
            listed.contains("c2FsbHlwb3J0LW1hc2tlZC"),
            "{arguments:?}: {listed}"
        );
    }
    let other = kubectl.json(&["get", "secret", "other"])?;
    ensure!(
        decoded(&other["data"]["password"])? == "in plain sight",
        "{other}"
    );
    let events = ["--watch", "--output-watch-events"];
    let watch = kubectl.follow(&[&["get", "secrets", "-o", "json"], &events[..]].concat())?;
    watch.wait_for("the Secret", |line| {
        assert_hidden(line);
        line.contains("c2FsbHlwb3J0LW1hc2tlZC")
    })?;
    Ok(())
}

/// Typed clients prefer protobuf, and are given JSON.
#[test]
fn a_typed_client_reads_placeholders_and_cannot_write_them_back() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let client = GoClient::new(&kubectl.kubeconfig(), &scene.namespace.name)?;
    let lines = client.lines(&["typed"])?;
    let of = |call: &str| {
        let found = lines
            .iter()
            .find(|line| line["kind"] == "Secret" && line["call"] == call);
        found.with_context(|| format!("no {call} in {lines:?}"))
    };
    let canary = BASE64_STANDARD.encode("correct horse battery staple");
    ensure!(!json!(lines).to_string().contains(&canary), "{lines:?}");
    let got = of("get")?;
    ensure!(got["contentType"] == "application/json", "{got}");
    ensure!(got.to_string().contains("c2FsbHlwb3J0LW1hc2tlZC"), "{got}");
    let updated = of("update")?.to_string();
    ensure!(
        updated.contains("data.password holds a placeholder"),
        "{updated}"
    );
    // What is no Secret is read and written as ever.
    let deployed = lines.iter().any(|line| {
        line["kind"] == "Deployment" && line["call"] == "update" && line["status"].is_null()
    });
    ensure!(deployed, "{lines:?}");
    Ok(())
}

const PYTHON: &str = r#"
import base64, json, sys
from kubernetes import client, config, watch
config.load_kube_config(config_file=sys.argv[1])
core = client.CoreV1Api()
secret = core.read_namespaced_secret("db", sys.argv[2])
print(base64.b64decode(secret.data["password"]).decode())
print(len(core.list_namespaced_secret(sys.argv[2]).items))
for event in watch.Watch().stream(core.list_namespaced_secret, sys.argv[2], timeout_seconds=30):
    print(json.dumps(event["raw_object"]))
    break
secret.metadata.labels["seen"] = "yes"
try:
    core.replace_namespaced_secret("db", sys.argv[2], secret)
except client.ApiException as refusal:
    print(refusal.status, json.loads(refusal.body)["message"])
print(core.patch_namespaced_secret("db", sys.argv[2], {"metadata": {"labels": {"seen": "yes"}}}).metadata.labels["seen"])
"#;

#[test]
fn python_reads_placeholders_and_cannot_write_them_back() -> Result<()> {
    let scene = scene()?;
    let kubeconfig = scene.kubectl()?;
    let path = kubeconfig.kubeconfig();
    let path = path.to_str().context("a temporary path is UTF-8")?;
    let said = Tools::from_env()?
        .run_python(PYTHON, &[path, &scene.namespace.name])?
        .success()?;
    assert_hidden(&said);
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines[0].starts_with("sallyport-masked-"), "{said}");
    ensure!(
        lines[3].starts_with("403") && lines[3].contains("data.password holds a placeholder"),
        "{said}"
    );
    ensure!(lines[4] == "yes", "{said}");
    Ok(())
}

/// Longer than what is read before its head goes.
#[test]
fn a_long_list_is_masked_on_its_way() -> Result<()> {
    let scene = scene()?;
    let api = scene.namespace.api();
    let long = "x".repeat(40_000);
    for number in 0..8 {
        let metadata = json!({"name": format!("long-{number}")});
        let secret =
            json!({"metadata": metadata, "stringData": {"long": long, "password": CANARY}});
        api.create(&scene.namespace.path("secrets"), &secret)?;
        let configmap = json!({"metadata": metadata, "data": {"long": long}});
        api.create(&scene.configmaps(), &configmap)?;
    }
    let target = scene.namespace.path("secrets");
    let response = scene.call("GET", &target, &[("Accept-Encoding", "gzip")])?;
    let text = response.text();
    assert_hidden(&text);
    let list: Value = serde_json::from_str(&text)?;
    ensure!(list["items"].as_array().map(Vec::len) == Some(9), "{list}");
    let warning = response.header("warning").context("no warning")?;
    ensure!(
        warning.contains("the values in this answer are masked"),
        "{warning}"
    );
    let seen: Value = serde_json::from_str(&scene.list()?.text())?;
    ensure!(
        seen["items"] == api.get(&scene.configmaps())?["items"],
        "ConfigMaps differ"
    );
    Ok(())
}

/// `kubectl get events` shows a column of free text.
#[test]
fn a_cell_of_a_table_shows_no_token_that_a_detector_of_a_policy_knows() -> Result<()> {
    const DETECTOR: &str = "  detectors:
  - name: acme-token
    prefix: acme_
    characters: A-Za-z0-9
    length: 12
    mustMatch: [acme_0aB1cD2eF3gH4iJ5]
    mustNotMatch: [acme_short]
";
    let scene = Scene::with(|settings, namespace| {
        let policy = policy(&namespace.name) + DETECTOR;
        Ok(settings.with_policy("masked.yaml", &policy))
    })?;
    let tokens = [
        "acme_4fK9zQ2mX7pL8wRt",
        &["gh", "p_", &"0Zq1Xw2Cv3".repeat(4)].concat(),
    ];
    let namespace = &scene.namespace;
    let event = json!({
        "metadata": {"name": "leak"},
        "involvedObject": {"kind": "Pod", "name": "shop", "namespace": namespace.name},
        "reason": "Failed", "type": "Warning",
        "message": format!("login with {} and {}", tokens[0], tokens[1]),
    });
    namespace.api().create(&namespace.path("events"), &event)?;
    let shown = scene.kubectl()?.ok(&["get", "events"])?;
    let row = shown.lines().find(|line| line.contains("login with"));
    let row = row.context("no row of the event")?;
    assert_eq!(row.matches("sallyport-masked-").count(), 2, "{shown}");
    assert!(tokens.iter().all(|token| !shown.contains(token)), "{shown}");
    let call = scene.outcome_of("the record", |call| {
        call["objectRef"]["resource"] == "events"
    })?;
    assert!(
        tokens.iter().all(|token| !call.to_string().contains(token)),
        "{call}"
    );
    Ok(())
}
