//! An agent under `agentView: Masked`: real clients work, and see placeholders where secrets are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use harness::{Cluster, GoClient, Kubectl, Output, Response, Tools, eventually};
use serde_json::{Value, json};

use super::Scene;

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
    // The record's digest and length are of what the API server sent.
    let direct = scene.namespace.api().get(&target)?;
    ensure!(direct["data"]["password"] != secret["data"]["password"]);
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

#[test]
fn kubectl_changes_a_masked_secret_but_for_what_it_cannot_see() -> Result<()> {
    let scene = scene()?;
    let path = scene.namespace.path("secrets/db");
    let password =
        || Ok::<_, anyhow::Error>(scene.namespace.api().get(&path)?["data"]["password"].take());
    let before = password()?;
    for kubectl in kubectls(&scene)? {
        // What was read is applied, replaced and edited back.
        let seen = kubectl.json(&["get", "secret", "db"])?;
        for command in [&["apply"][..], &["replace"]] {
            let mut secret = seen.clone();
            secret["metadata"]["labels"]["app"] = json!("other");
            let refused = kubectl.run_with(command, &secret)?.failure()?;
            ensure!(
                refused.contains("holds a placeholder"),
                "{command:?}: {refused}"
            );
            ensure!(refused.contains("kubectl patch"), "{command:?}: {refused}");
        }
        ensure!(password()? == before, "the password was overwritten");
        let editing = kubectl.with_variable("KUBE_EDITOR", "sed -i 's/app: .*/app: edited/'");
        let edited = editing.run(&["edit", "secret", "db"])?;
        ensure!(edited.is_success(), "{edited:?}");
        ensure!(
            password()? == before,
            "an edit of another field overwrote the password"
        );
    }
    let copied = BASE64_STANDARD.encode("sallyport-masked-79072fbbc95a-0123456789abcdef01234567");
    let editor = format!("sed -i 's/^data:/data:\\n  copied: {copied}/'");
    let editing = scene.kubectl()?.with_variable("KUBE_EDITOR", &editor);
    let refused = editing.run(&["edit", "secret", "db"])?.failure()?;
    ensure!(
        refused.contains("data.copied holds a placeholder"),
        "{refused}"
    );
    // A new value is written, and the whole object applied by who knows its values.
    let kubectl = scene.kubectl()?;
    kubectl.ok(&[
        "patch",
        "secret",
        "db",
        "--type=merge",
        "-p",
        r#"{"stringData":{"user":"new"}}"#,
    ])?;
    let whole = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
        "stringData": {"password": "known now"},
    });
    kubectl.run_with(&["apply"], &whole)?.success()?;
    ensure!(password()? == BASE64_STANDARD.encode("known now"));
    Ok(())
}

#[test]
fn a_placeholder_in_a_command_line_is_refused() -> Result<()> {
    let scene = scene()?;
    let placeholder = "sallyport-masked-79072fbbc95a-0123456789abcdef01234567";
    let refused = scene
        .kubectl()?
        .run(&["exec", "agent", "--", "login", placeholder])?
        .failure()?;
    ensure!(refused.contains("the URL holds a placeholder"), "{refused}");
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: made}}\nstringData: {{a: {placeholder}}}\n"
    );
    let headers = [("Content-Type", "application/yaml")];
    let target = scene.namespace.path("secrets");
    let response = scene
        .start("POST", &target, &headers, yaml.as_bytes())?
        .response()?;
    ensure!(response.status == 403, "{}", response.text());
    ensure!(
        response.text().contains("stringData.a holds a placeholder"),
        "{}",
        response.text()
    );
    Ok(())
}

/// Whoever can write Secrets must not learn one by comparing.
#[test]
fn guesses_cannot_be_compared() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let guess = format!("--from-literal=password={CANARY}");
    kubectl.ok(&["create", "secret", "generic", "guess", &guess])?;
    let placeholder = |name: &str| -> Result<String> {
        decoded(&kubectl.json(&["get", "secret", name])?["data"]["password"])
    };
    ensure!(
        placeholder("guess")? != placeholder("db")?,
        "equal values look equal"
    );
    ensure!(
        placeholder("db")? == placeholder("db")?,
        "one value looks different each time"
    );
    let patch = json!({"stringData": {"password": CANARY}}).to_string();
    let dry = [
        "patch",
        "secret",
        "db",
        "--type=merge",
        "--dry-run=server",
        "-p",
        &patch,
    ];
    let refused = kubectl.run(&dry)?.failure()?;
    ensure!(refused.contains("a dry run would tell"), "{refused}");
    for operation in [
        json!([{"op": "test", "path": "/data/password", "value": BASE64_STANDARD.encode(CANARY)}]),
        json!([{"op": "copy", "from": "/data/password", "path": "/metadata/labels/x"}]),
        json!([{"op": "move", "from": "/metadata/annotations/note", "path": "/metadata/labels/x"}]),
    ] {
        let refused = kubectl
            .run(&[
                "patch",
                "secret",
                "db",
                "--type=json",
                "-p",
                &operation.to_string(),
            ])?
            .failure()?;
        ensure!(refused.contains("JSON Patch"), "{refused}");
    }
    // The answer to a write is comparable with nothing.
    let written = kubectl.json(&[
        "patch",
        "secret",
        "guess",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"a":"b"}}}"#,
    ])?;
    ensure!(
        decoded(&written["data"]["password"])? != placeholder("guess")?,
        "a write answers as a read does"
    );
    Ok(())
}

/// The generation in its answer would say whether the guess is right.
#[test]
fn a_dry_run_shows_a_change_and_answers_no_guess() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{
            "name": "web", "image": "web", "env": [{"name": "PASSWORD", "value": CANARY}],
        }]},
    });
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod},
    });
    kubectl.run_with(&["apply"], &web)?.success()?;
    for refused in [
        kubectl.run_with(&["apply", "--server-side", "--dry-run=server"], &web)?,
        kubectl.run(&[
            "set",
            "env",
            "deployment/web",
            "PASSWORD=guess",
            "--dry-run=server",
        ])?,
    ] {
        let refused = refused.failure()?;
        ensure!(
            refused.contains("a dry run would tell")
                && refused.contains("without --dry-run=server"),
            "{refused}"
        );
    }
    kubectl.ok(&["scale", "deployment/web", "--replicas=0"])?;
    kubectl.ok(&["label", "deployment/web", "a=b", "--dry-run=server"])?;
    let mut map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"},
    });
    kubectl.run_with(&["apply"], &map)?.success()?;
    map["data"]["a"] = json!("c");
    kubectl
        .run_with(&["apply", "--dry-run=server"], &map)?
        .success()?;
    // What compares is somebody else's program; its dry run is what might be refused.
    let diff = scene
        .kubectl()?
        .with_variable("KUBECTL_EXTERNAL_DIFF", "/bin/true");
    diff.run_with(&["diff"], &map)?.success()?;
    map["metadata"]["name"] = json!("made");
    kubectl
        .run_with(&["apply", "--server-side", "--dry-run=server"], &map)?
        .success()?;
    Ok(())
}

#[test]
fn a_refusal_that_quotes_a_secret_is_not_shown() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    for patch in [json!({"data": {"user": 7}}), json!({"stringData": 7})] {
        let output = kubectl.run(&[
            "patch",
            "secret",
            "db",
            "--type=merge",
            "-p",
            &patch.to_string(),
        ])?;
        assert_hidden(&said(&output));
        let refused = output.failure()?;
        ensure!(refused.contains("withheld"), "{refused}");
    }
    let again = kubectl
        .run(&["create", "secret", "generic", "db"])?
        .failure()?;
    ensure!(again.contains("already exists"), "{again}");
    Ok(())
}

#[test]
fn a_watch_over_websocket_is_refused_under_a_masked_view() -> Result<()> {
    let scene = Scene::with(|mut settings, namespace| {
        settings.config["upgrades"] = json!({"allow": ["watch"]});
        Ok(settings.with_policy("masked.yaml", &policy(&namespace.name)))
    })?;
    let target = scene.namespace.path("secrets?watch=true");
    let bearer = format!("Bearer {}", scene.token);
    let refused = scene
        .gateway
        .client()?
        .websocket(&target, &[("Authorization", &bearer)])
        .err()
        .context("it was upgraded")?
        .to_string();
    ensure!(refused.contains("403"), "{refused}");
    let denied = scene.outcome_of("the refusal", |call| call["verb"] == "watch")?;
    ensure!(denied["rule"] == "built-in/masked-view", "{denied}");
    Ok(())
}

#[test]
fn an_agent_mints_its_own_token_under_a_masked_view() -> Result<()> {
    let scene = scene()?;
    let minted = scene
        .kubectl()?
        .ok(&["create", "token", "coder", "--audience=sallyport"])?;
    ensure!(minted.trim().split('.').count() == 3, "{minted}");
    Ok(())
}

#[test]
fn a_leaked_placeholder_leads_to_the_call_that_saw_it() -> Result<()> {
    let scene = scene()?;
    let kubectl = scene.kubectl()?;
    let secret = kubectl.json(&["get", "secret", "db"])?;
    let encoded = secret["data"]["password"].as_str().context("no text")?;
    let call = scene.outcome_of("kubectl's get", |call| {
        call["objectRef"]["name"] == "db" && call["verb"] == "get"
    })?;
    let audit_id = call["auditID"].as_str().context("no auditID")?;
    for pasted in [
        format!(
            "the password is {} I think",
            decoded(&secret["data"]["password"])?
        ),
        format!("password: {encoded}"),
    ] {
        let traced = scene
            .gateway
            .command(&["trace", "--config", "gateway.yaml", &pasted])?
            .success()?;
        for expected in [
            "was seen by session",
            audit_id,
            "coder",
            "big-model",
            "secrets/db",
        ] {
            ensure!(traced.contains(expected), "{expected} is not in {traced}");
        }
    }
    // The record's own placeholders lead to every call with them.
    let shown = scene
        .gateway
        .command(&["audit", "show", "--config", "gateway.yaml", audit_id])?
        .success()?;
    let at = shown.find("masked:").context("nothing was masked")?;
    let recorded = &shown[at..at + "masked:".len() + 8 + 1 + 32];
    let traced = scene
        .gateway
        .command(&["trace", "--config", "gateway.yaml", recorded])?
        .success()?;
    ensure!(traced.contains(audit_id), "{traced}");
    let unknown = "sallyport-masked-000000000000-0123456789abcdef01234567";
    let nothing = scene
        .gateway
        .command(&["trace", "--config", "gateway.yaml", unknown])?;
    ensure!(
        !nothing.is_success() && nothing.stdout.contains("No call in this record"),
        "{nothing:?}"
    );
    Ok(())
}

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: '7'\n";

/// helm keeps releases in Secrets and must decode them; what it would do with a masked one changes nothing.
#[test]
fn helm_lists_masked_releases_and_changes_none() -> Result<()> {
    let scene = scene()?;
    let chart = tempfile::tempdir()?;
    std::fs::create_dir(chart.path().join("templates"))?;
    std::fs::write(chart.path().join("Chart.yaml"), CHART)?;
    std::fs::write(
        chart.path().join("templates/objects.yaml"),
        "apiVersion: v1\nkind: Secret\nmetadata: {name: \"{{ .Release.Name }}-door\"}\nstringData: {key: \"{{ .Values.key }}\"}\n",
    )?;
    let chart = chart.path().to_str().context("a temporary path is UTF-8")?;
    for (index, helm) in Tools::helms()?.iter().enumerate() {
        let helm = scene.kubectl()?.with_program(helm);
        let name = format!("site-{index}");
        let run = |arguments: &[&str]| {
            let output = helm.run(&[arguments, &["--namespace", helm.namespace()]].concat())?;
            assert_hidden(&said(&output));
            Ok::<_, anyhow::Error>(output)
        };
        let key = format!("key={CANARY}");
        run(&["install", &name, chart, "--set", &key])?.success()?;
        let listed = run(&["list"])?.success()?;
        ensure!(
            listed.contains(&name) && listed.contains("deployed") && listed.contains("web-1.0.0"),
            "{listed}"
        );
        // helm 4 looks at the objects as well, and their manifest is hidden.
        let status = run(&["status", &name])?;
        if run(&["version", "--short"])?.success()?.starts_with("v3") {
            let status = status.success()?;
            ensure!(status.contains("STATUS: deployed"), "{status}");
        } else {
            status.failure()?;
        }
        run(&["history", &name])?.success()?;
        for change in [
            &["upgrade", &name, chart, "--set", "key=other"][..],
            &["rollback", &name, "1"],
            &["uninstall", &name],
        ] {
            run(change)?.failure()?;
        }
        let door = scene
            .namespace
            .api()
            .get(&scene.namespace.path(&format!("secrets/{name}-door")))?;
        ensure!(
            door["data"]["key"] == BASE64_STANDARD.encode(CANARY),
            "{door}"
        );
        let release = format!("secrets/sh.helm.release.v1.{name}.v1");
        let release = scene.namespace.api().get(&scene.namespace.path(&release))?;
        ensure!(
            release["metadata"]["labels"]["status"] == "deployed",
            "{}",
            release["metadata"]
        );
    }
    Ok(())
}

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
    // A watch tells before it ends.
    let watch = kubectl.follow(&[
        "get",
        "secret",
        "root-credentials",
        "-o",
        "yaml",
        "--watch-only",
    ])?;
    eventually("the decoy seen in a watch", Duration::from_secs(30), || {
        let labels = json!({"metadata": {"labels": {"at": format!("{:?}", std::process::id())}}});
        api.patch(&scene.namespace.path("secrets/root-credentials"), &labels)?;
        let count = scene.gateway.metric("sallyport_decoys_read_total")?;
        Ok((count >= 2.0).then_some(()))
    })?;
    drop(watch);
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
        let headers = [("Content-Type", "application/json")];
        let body = serde_json::to_vec(&deployment)?;
        let target = format!("{deployments}{query}");
        let response = scene.start("POST", &target, &headers, &body)?.response()?;
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
        let denied = eventually("the stop", Duration::from_secs(30), || {
            let answer = self.list()?;
            Ok((answer.status == 403).then(|| answer.text()))
        });
        let made = api.get(&stop)?;
        api.delete(&stop)?;
        ensure!(denied?.contains("it read the decoy Secret"), "{made}");
        eventually("the alert", Duration::from_secs(30), || {
            let events = api.get(&self.namespace.path("events"))?;
            let mut events = events["items"].as_array().into_iter().flatten();
            let is_told = |event: &&Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == "DecoyRead" && message.contains(told)
            };
            Ok(events.find(is_told).cloned())
        })?;
        Ok(())
    }
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

/// Warns of every ConfigMap and Secret of the namespace, and quotes it.
struct Talker<'a> {
    scene: &'a Scene,
}

impl<'a> Talker<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        let (name, api) = (&scene.namespace.name, scene.namespace.api());
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps", "secrets"]});
        let words = "'it says ' + object.metadata.annotations['note']";
        let policy = json!({"metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "!has(object.metadata.annotations)", "messageExpression": words}],
        }});
        let here =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let binding = json!({"metadata": {"name": name}, "spec": {
            "policyName": name, "validationActions": ["Warn"], "matchResources": here,
        }});
        api.create(&policies(""), &policy)?;
        let talker = Self { scene };
        api.create(&policies("bindings"), &binding)?;
        eventually("the warning", Duration::from_secs(30), || {
            let object = json!({"metadata": {"name": "probe", "annotations": {"note": "hello"}}});
            let path = format!("{}?dryRun=All", scene.configmaps());
            let answer = api.answer("POST", &path, &[], &object)?;
            Ok(answer.header("warning").map(drop))
        })?;
        Ok(talker)
    }

    /// What an agent is warned of that creates an object with this note.
    fn warns(&self, resource: &str, name: &str, note: &str) -> Result<String> {
        let object = json!({"metadata": {"name": name, "annotations": {"note": note}}});
        let headers = [("Content-Type", "application/json")];
        let target = self.scene.namespace.path(resource);
        let body = serde_json::to_vec(&object)?;
        let answer = self
            .scene
            .start("POST", &target, &headers, &body)?
            .response()?;
        ensure!(answer.status == 201, "{}", answer.text());
        let warnings = answer.headers.iter().filter(|(name, _)| name == "warning");
        Ok(warnings
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join("\n"))
    }
}

impl Drop for Talker<'_> {
    fn drop(&mut self) {
        for kind in ["bindings", ""] {
            let path = policies(kind) + "/" + &self.scene.namespace.name;
            let _gone = self.scene.namespace.api().delete(&path);
        }
    }
}

fn policies(kind: &str) -> String {
    let plural = if kind.is_empty() {
        "policies"
    } else {
        "policybindings"
    };
    format!("/apis/admissionregistration.k8s.io/v1/validatingadmission{plural}")
}

#[test]
fn warnings_quote_no_secret() -> Result<()> {
    let scene = scene()?;
    let talker = Talker::new(&scene)?;
    let harmless = talker.warns("configmaps", "plain", "a green \"day\"")?;
    ensure!(harmless.contains("it says a green"), "{harmless}");
    let token = format!("ghp_{}", "Ab1".repeat(12));
    for (resource, name, note) in [
        ("configmaps", "token", token.as_str()),
        (
            "configmaps",
            "told",
            "{\"password\": \"Xk29fLq81vTzQw7RmB3nYp5D\"}",
        ),
        ("secrets", "secret", CANARY),
    ] {
        let warned = talker.warns(resource, name, note)?;
        ensure!(warned.contains("is withheld"), "{name}: {warned}");
        ensure!(
            !warned.contains("it says") && !warned.contains(note),
            "{name}: {warned}"
        );
    }
    Ok(())
}
