//! A secret in each kind of object that has a place for one, and in what comes of it in other forms.

use std::thread;

use anyhow::{Context, Result, ensure};
use harness::{Kubectl, Tools};
use serde_json::{Value, json};

use super::{FORMATS, canary, scene_that_records_everything, secret, sweep::sweep};
use crate::slice::Scene;

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
const TEMPLATE: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: \"{{ .Release.Name }}-door\"}\nstringData: {key: \"{{ .Values.key }}\"}\n";

#[test]
fn a_secret_in_every_kind_of_object_is_in_no_log_record_or_metric() -> Result<()> {
    let scene = scene_that_records_everything()?;
    let canary = canary();
    let kubectl = scene.kubectl()?;
    for object in workloads(&canary) {
        kubectl.run_with(&["apply"], &object)?.success()?;
    }
    kubectl.ok(&["get", "jobs,cronjobs,daemonsets,statefulsets", "-o", "json"])?;
    kubectl
        .run_with(&["create"], &secret("made", &canary))?
        .success()?;
    read_and_watch(&scene)?;
    ask_in_other_places(&scene, &canary)?;
    release(&kubectl, &canary)?;
    // Answers with each of them.
    let all = scene.call("DELETE", &scene.namespace.path("secrets"), &[])?;
    ensure!(
        all.status == 200 && all.text().contains("made"),
        "{}",
        all.text()
    );
    sweep(scene, &[&canary])
}

/// Each with a variable, an argument, and headers of a probe and of a hook.
fn workloads(canary: &str) -> [Value; 4] {
    let headers = json!([{"name": "Authorization", "value": format!("Bearer {canary}")}]);
    let asks = json!({"httpGet": {"port": 80, "httpHeaders": headers}});
    let container = json!({
        "name": "main",
        "image": "registry.invalid/web:1",
        "env": [{"name": "GREETING", "value": canary}],
        "args": [format!("--password={canary}"), format!("postgres://user:{canary}@db/shop")],
        "livenessProbe": asks,
        "lifecycle": {"preStop": asks},
    });
    let first = json!({
        "name": "first",
        "image": "registry.invalid/first:1",
        "env": [{"name": "GREETING", "value": canary}],
    });
    let pods = |restart: &str| {
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"restartPolicy": restart, "initContainers": [first], "containers": [container]},
        })
    };
    let selector = json!({"matchLabels": {"app": "web"}});
    let of = |kind: &str, group: &str, spec: Value| json!({"apiVersion": group, "kind": kind, "metadata": {"name": "web"}, "spec": spec});
    let job = json!({"suspend": true, "template": pods("Never")});
    [
        of(
            "CronJob",
            "batch/v1",
            json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job}}),
        ),
        of("Job", "batch/v1", job),
        of(
            "DaemonSet",
            "apps/v1",
            json!({"selector": selector, "template": pods("Always")}),
        ),
        of(
            "StatefulSet",
            "apps/v1",
            json!({"replicas": 0, "selector": selector, "template": pods("Always")}),
        ),
    ]
}

fn read_and_watch(scene: &Scene) -> Result<()> {
    let namespace = &scene.namespace.name;
    let lists = [
        format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
        format!("/apis/apps/v1/namespaces/{namespace}/statefulsets"),
        scene.namespace.path("secrets"),
    ];
    let read = |accept: &str| -> Result<()> {
        for list in &lists {
            for query in [
                "",
                "?includeObject=Object",
                "?watch=1&resourceVersion=0&timeoutSeconds=1",
            ] {
                let answer = scene.call("GET", &format!("{list}{query}"), &[("Accept", accept)])?;
                // Not every format is spoken of everything.
                ensure!([200, 406].contains(&answer.status), "{}", answer.text());
            }
        }
        Ok(())
    };
    thread::scope(|threads| {
        let read = &read;
        let mut readers = Vec::new();
        for accept in FORMATS {
            readers.push(threads.spawn(move || read(accept)));
        }
        for reader in readers {
            reader.join().expect("it does not panic")?;
        }
        Ok(())
    })
}

/// Whatever becomes of them, they are recorded.
fn ask_in_other_places(scene: &Scene, canary: &str) -> Result<()> {
    let debugger = json!({"spec": {"ephemeralContainers": [
        {"name": "debug", "image": "registry.invalid/debug:1", "env": [{"name": "GREETING", "value": canary}]},
    ]}});
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": canary},
    });
    let pod = scene
        .namespace
        .path(&format!("pods/{}/ephemeralcontainers", scene.pod.name));
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    for (method, target, format, body, resource) in [
        (
            "PATCH",
            &*pod,
            "application/strategic-merge-patch+json",
            debugger,
            "pods",
        ),
        ("POST", reviews, "application/json", review, "tokenreviews"),
    ] {
        let headers = [("Content-Type", format)];
        let body = body.to_string();
        let answer = scene
            .start(method, target, &headers, body.as_bytes())?
            .response()?;
        ensure!(
            [200, 201, 403].contains(&answer.status),
            "{}",
            answer.text()
        );
        let record = scene.record(&answer)?;
        ensure!(record["objectRef"]["resource"] == resource, "{record}");
        ensure!(
            record["responseStatus"]["code"] == answer.status,
            "{record}"
        );
    }
    Ok(())
}

/// helm keeps what it was given in a Secret of its own, zipped.
fn release(kubectl: &Kubectl, canary: &str) -> Result<()> {
    let chart = tempfile::tempdir()?;
    std::fs::create_dir(chart.path().join("templates"))?;
    std::fs::write(chart.path().join("Chart.yaml"), CHART)?;
    std::fs::write(chart.path().join("templates/door.yaml"), TEMPLATE)?;
    let path = chart.path().to_str().context("a temporary path is UTF-8")?;
    let helm = Tools::helms()?.into_iter().next().context("helm")?;
    let helm =
        Kubectl::with_kubeconfig(&kubectl.kubeconfig(), kubectl.namespace())?.with_program(&helm);
    let key = format!("key={canary}");
    for arguments in [
        &["install", "site", path, "--set", &key][..],
        &["upgrade", "site", path, "--set", &key],
        &["get", "all", "site"],
    ] {
        let namespaced = [arguments, &["--namespace", kubectl.namespace()]].concat();
        helm.run(&namespaced)?.success()?;
    }
    Ok(())
}
