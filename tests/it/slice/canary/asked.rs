//! What people are asked, and what they are told of denials, names no secret either.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Kubectl, Sallyport, eventually};
use serde_json::{Value, json};

use super::{
    MARKER, OWN_DETECTOR, canary, deployment, patches, secret,
    sweep::{finds, sweep_kept},
};
use crate::slice::{
    JSON, Scene,
    approvals::{Asked, is_asked},
};

const ALERTS: usize = 2;

#[test]
fn a_secret_is_in_no_approval_and_no_event() -> Result<()> {
    let asked = Asked::with_settings("{hold: 0s}", |settings, namespace| {
        settings
            .with_policy("more.yaml", &asking(namespace))
            .with_policy("acme.yaml", OWN_DETECTOR)
    })?;
    let canary = canary();
    let before = secret("before", &format!("{canary}0"));
    let secrets = asked.scene.namespace.path("secrets");
    asked.scene.namespace.api().create(&secrets, &before)?;

    let kubectl = asked.scene.kubectl()?;
    let of_objects = ask_for_objects(&kubectl, &canary)?;
    let of_targets = ask_for_targets(&asked.scene, &kubectl, &canary)?;
    let of_yaml = ask_in_yaml(&asked.scene, &canary)?;
    do_great_harm(&asked.scene, &canary)?;

    let shown = shown(&asked)?;
    let requests = of_objects + of_targets + of_yaml;
    assert_eq!(shown.len(), 2 + requests, "a place was not asked about");
    for (place, text) in &shown {
        ensure!(!finds(text.as_bytes(), &canary), "it is in {place}: {text}");
    }
    // What is no secret is shown, so a secret would be.
    let showing = shown.iter().filter(|(_, text)| text.contains(MARKER));
    assert_eq!(showing.count(), 2, "{shown:#?}");
    sweep_kept(asked.scene, &[&canary])
}

fn asking(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: more}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: objects
    effect: RequireApproval
    verbs: [create, update, patch]
    apiGroups: ["", apps]
    resources: [secrets, deployments, services/proxy]
    namespaces: [{namespace}]
    names: ["*"]
    approval: {{hold: 0s}}
  - name: paths
    effect: RequireApproval
    verbs: ["*"]
    nonResourceURLs: [/tools/*]
    approval: {{hold: 0s}}
"#
    )
}

/// Answers with the number of calls.
fn ask_for_objects(kubectl: &Kubectl, canary: &str) -> Result<usize> {
    let mut careless = deployment(&json!([{"name": "GREETING", "value": canary}]));
    careless["metadata"]["annotations"] = json!({"note": format!("acme_{canary}")});
    careless["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "host", "hostPath": {"path": format!("/var/acme_{canary}")}}]);
    let configmap = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "careless", "annotations": {"note": format!("Authorization: Bearer {canary}")}},
        "data": {"marker": MARKER, "database": format!("postgres://user:{canary}@db/shop"), "apiKey": canary},
    });
    let writes = [
        (&["create"][..], secret("made", canary)),
        (&["apply"], secret("applied", canary)),
        (&["apply", "--server-side"], careless.clone()),
        (
            &["apply", "--server-side", "--force-conflicts"],
            secret("before", canary),
        ),
        (&["replace"], secret("before", canary)),
        (&["apply"], careless),
        (&["apply"], configmap),
    ];
    for (arguments, object) in &writes {
        kubectl_waits(&kubectl.run_with(arguments, object)?.failure()?)?;
    }
    let patches = patches(canary);
    for (kind, patch) in &patches {
        let patch = patch.to_string();
        let patching = ["patch", "secret", "before", "--type", kind, "-p", &patch];
        kubectl_waits(&kubectl.run(&patching)?.failure()?)?;
    }
    let applied = secret("before", &format!("{canary}2"));
    kubectl_waits(&kubectl.run_with(&["apply"], &applied)?.failure()?)?;
    Ok(writes.len() + patches.len() + 1)
}

fn ask_for_targets(scene: &Scene, kubectl: &Kubectl, canary: &str) -> Result<usize> {
    let password = format!("--password={canary}");
    let host = format!("mysql://root:{canary}@db");
    let exec = ["exec", &scene.pod.name, "--", "mysql", &password, &host];
    kubectl_waits(&kubectl.run(&exec)?.failure()?)?;
    let proxied = format!("services/web/proxy/acme_{canary}?all=true&token={canary}");
    let targets = [
        scene.namespace.path(&proxied),
        format!("/tools/acme_{canary}"),
        format!("/tools/reset?token={canary}"),
    ];
    for target in &targets {
        is_asked(&scene.call("POST", target, &[])?)?;
    }
    Ok(1 + targets.len())
}

fn ask_in_yaml(scene: &Scene, canary: &str) -> Result<usize> {
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: yaml}}\nstringData:\n  k: |\n    {canary}\n"
    );
    let target = scene.namespace.path("secrets");
    is_asked(&scene.send_bytes("POST", &target, "application/yaml", yaml.as_bytes())?)?;
    Ok(1)
}

fn kubectl_waits(refusal: &str) -> Result<()> {
    ensure!(refusal.contains("waits for approval"), "{refusal}");
    Ok(())
}

/// Denied, and told.
fn do_great_harm(scene: &Scene, canary: &str) -> Result<()> {
    let mut minting = secret("minted", canary);
    minting["type"] = json!("kubernetes.io/service-account-token");
    minting["metadata"]["annotations"]["kubernetes.io/service-account.name"] = json!("coder");
    let secrets = scene.namespace.path("secrets");
    scene.send("POST", &secrets, JSON, &minting)?.refusal(403)?;
    let kubelet = format!("/api/v1/nodes/n/proxy/acme_{canary}?token={canary}");
    scene.call("POST", &kubelet, &[])?.refusal(403)?;
    Ok(())
}

/// All requests, all Events, and each request by itself, as people see them.
fn shown(asked: &Asked) -> Result<Vec<(String, String)>> {
    let namespace = &asked.scene.namespace.name;
    let person = Kubectl::with_kubeconfig(&asked.scene.cluster.kubeconfig, namespace)?;
    let events = eventually("the alerts", Duration::from_secs(60), || {
        let events = person.ok(&["get", "events", "-n", namespace, "-o", "json"])?;
        let told = events.matches("\"CriticalDenied\"").count();
        Ok((told == ALERTS).then_some(events))
    })?;
    let requests = person.ok(&["get", "approvalrequests", "-n", namespace, "-o", "json"])?;
    let listed: Value = serde_json::from_str(&requests)?;
    let listed = listed["items"].as_array().context("a list")?;
    let mut shown = vec![
        ("the Events".to_owned(), events),
        ("the requests".to_owned(), requests),
    ];
    let sallyport = Sallyport::with_kubeconfig(&person.kubeconfig())?;
    for request in listed {
        let name = request["metadata"]["name"].as_str().context("a name")?;
        let show = sallyport.run(&["approvals", "show", &format!("{namespace}/{name}")])?;
        shown.push((format!("approvals show {name}"), show.success()?));
    }
    Ok(shown)
}
