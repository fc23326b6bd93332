//! The validating policies alone, as when nothing mutates: a webhook undid it, or a binding is gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Cluster, Installation, Kubectl, Namespace, eventually};
use serde_json::{Value, json};

use super::{
    super::agents_namespace::{gate, pod},
    token,
};

/// What would be admitted if only the gate and NET_RAW were right.
fn prepared(fields: Value) -> Value {
    let mut agent = pod(fields);
    let drop = json!({"capabilities": {"drop": ["ALL"]}});
    agent["spec"]["containers"][0]["securityContext"] = drop.clone();
    let (mut gate, volume) = gate();
    gate["securityContext"] = drop;
    agent["spec"]["initContainers"] = json!([gate]);
    let mut volumes = agent["spec"]["volumes"].take();
    match &mut volumes {
        Value::Array(volumes) => volumes.push(volume),
        none => *none = json!([volume]),
    }
    agent["spec"]["volumes"] = volumes;
    agent
}

fn own(sources: Value) -> Value {
    prepared(json!({
        "automountServiceAccountToken": false,
        "volumes": [{"name": "v", "projected": {"sources": sources}}],
    }))
}

#[test]
fn validation_alone_refuses_what_mutation_would_have_mended() -> Result<()> {
    let private = Cluster::start_private()?;
    let kubectl = Kubectl::with_kubeconfig(&private.cluster.kubeconfig, "default")?;
    let manifests = Installation::from_env()?.manifests()?;
    kubectl
        .run_with_input(&["apply", "-f", "-"], manifests.as_bytes())?
        .success()?;
    kubectl.ok(&["delete", "mutatingadmissionpolicybindings", "--all"])?;
    let namespace = Namespace::create(&private.cluster)?;
    namespace.create_service_account("coder")?;
    kubectl.ok(&[
        "label",
        "namespace",
        &namespace.name,
        "sallyport.dev/agents=enforce",
    ])?;

    let api = "agent pods must not project a ServiceAccount token for the API server's audience";
    let ca = json!({"configMap": {"name": "kube-root-ca.crt"}});
    let plain_ca = prepared(json!({
        "automountServiceAccountToken": false,
        "volumes": [{"name": "v", "configMap": ca["configMap"]}],
    }));
    let mut without_gate = prepared(json!({"automountServiceAccountToken": false}));
    without_gate["spec"]["initContainers"] = json!([]);
    let mut keeps_net_raw = prepared(json!({"automountServiceAccountToken": false}));
    keeps_net_raw["spec"]["containers"][0]["securityContext"] = json!({});
    let rows = [
        (
            "no gate",
            without_gate,
            Some("the first init container of an agent pod"),
        ),
        (
            "a container that keeps NET_RAW",
            keeps_net_raw,
            Some("must drop NET_RAW or ALL"),
        ),
        ("the default token", prepared(json!({})), Some(api)),
        (
            "a token without an audience",
            own(json!([token(None, 3600)])),
            Some(api),
        ),
        (
            "a token for the API server",
            own(json!([token(Some("api"), 3600)])),
            Some(api),
        ),
        (
            "a token for vault",
            own(json!([token(Some("vault"), 3600)])),
            None,
        ),
        (
            "the cluster's CA",
            own(json!([ca])),
            Some("not kube-root-ca.crt"),
        ),
        (
            "the cluster's CA in a ConfigMap volume",
            plain_ca,
            Some("not kube-root-ca.crt"),
        ),
        (
            "no token at all",
            prepared(json!({"automountServiceAccountToken": false})),
            None,
        ),
    ];
    let path = namespace.path("pods?dryRun=All");
    let api = namespace.api();
    // Until the last binding is seen as gone, each of the three still mends its pod.
    eventually("the end of mutation", Duration::from_secs(60), || {
        let mut refused = true;
        for (_, pod, _) in &rows[..3] {
            refused &= api.answer("POST", &path, &[], pod)?.status == 403;
        }
        Ok(refused.then_some(()))
    })?;
    for (what, pod, refusal) in rows {
        let answer = api.answer("POST", &path, &[], &pod)?;
        let text = answer.text();
        match refusal {
            Some(message) => ensure!(
                answer.status == 403 && text.contains(message),
                "{what}: {text}"
            ),
            None => ensure!(answer.status == 201, "{what}: {text}"),
        }
    }
    Ok(())
}
