//! The start gate is first and ours.

use std::time::Duration;

use anyhow::Result;
use harness::eventually;
use serde_json::{Value, json};

use super::super::agents_namespace::{self, AgentsNamespace, init_containers, pod, said};

const FIRST: &str = "the first init container of an agent pod must be sallyport-start-gate";

/// The gate with something changed.
fn gate(change: Value) -> Value {
    let (mut gate, _) = agents_namespace::gate();
    if let Value::Object(fields) = change {
        for (name, value) in fields {
            gate[name] = value;
        }
    }
    gate
}

fn with_inits(containers: &[Value]) -> Value {
    pod(json!({"initContainers": containers, "volumes": [{"name": "v", "emptyDir": {}}]}))
}

#[test]
fn gate_comes_before_init_containers_and_sidecars() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let made = agents.admitted(&with_inits(&[
        json!({"name": "side", "image": "s:1", "restartPolicy": "Always"}),
        json!({"name": "init", "image": "i:1"}),
    ]))?;
    assert_eq!(
        init_containers(&made),
        ["sallyport-start-gate", "side", "init"]
    );
    assert_eq!(
        made["spec"]["initContainers"][0]["command"],
        json!(["sallyport", "start-gate"])
    );
    Ok(())
}

#[test]
fn gate_that_is_there_already_is_moved_to_the_front() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let init = json!({"name": "init", "image": "i:1"});
    let made = agents.admitted(&with_inits(&[init, gate(json!({}))]))?;
    assert_eq!(init_containers(&made), ["sallyport-start-gate", "init"]);
    Ok(())
}

#[test]
fn gate_is_admitted_where_pod_security_is_restricted() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    agents.namespace.api().patch(&agents.path(), &labels)?;
    let security = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true,
                          "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let mut restricted = pod(json!({}));
    restricted["spec"]["containers"][0]["securityContext"] = security;
    let made = agents.admitted(&restricted)?;
    assert_eq!(init_containers(&made), ["sallyport-start-gate"]);
    let refusal = eventually(
        "the refusal of a pod that is not",
        Duration::from_secs(60),
        || {
            let answer = agents.admission(&pod(json!({})))?;
            Ok((answer.status != 201).then_some(answer))
        },
    )?;
    said(&refusal, 403, "violates PodSecurity")
}

macro_rules! refused {
    ($($name:ident: $container:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            AgentsNamespace::enforce()?.refuses(&with_inits(&[$container]), FIRST)
        }
    )*};
}

/// The gate with these mounts beside that of our CA.
fn with_mounts(more: &[Value]) -> Value {
    let (gate, _) = agents_namespace::gate();
    let mut mounts = gate["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.extend_from_slice(more);
    self::gate(json!({"volumeMounts": mounts}))
}

fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path})
}

refused! {
    gate_of_another_image_is_refused: gate(json!({"image": "busybox:1"}));
    gate_with_another_command_is_refused: gate(json!({"command": ["true"]}));
    gate_with_other_arguments_is_refused: gate(json!({"args": ["--help"]}));
    gate_with_an_environment_is_refused: gate(json!({"env": [{"name": "PATH", "value": "/v"}]}));
    gate_with_an_environment_from_elsewhere_is_refused: gate(json!({"envFrom": [{"configMapRef": {"name": "x"}}]}));
    gate_that_is_a_sidecar_is_refused: gate(json!({"restartPolicy": "Always"}));
    gate_with_a_volume_over_its_program_is_refused: with_mounts(&[mount("v", "/usr/local/bin")]);
    gate_with_a_volume_that_only_looks_like_a_secret_is_refused:
        with_mounts(&[mount("v", "/var/run/secrets/../../../usr/local/bin")]);
    gate_without_our_ca_is_refused: gate(json!({"volumeMounts": []}));
    gate_with_another_volume_where_our_ca_belongs_is_refused:
        gate(json!({"volumeMounts": [mount("v", "/var/run/secrets/sallyport.dev")]}));
    gate_with_another_volume_below_our_ca_is_refused:
        with_mounts(&[mount("v", "/var/run/secrets/sallyport.dev/ca.crt")]);
    gate_with_another_volume_above_our_ca_is_refused: with_mounts(&[mount("v", "/var/run/secrets/")]);
    gate_with_another_spelling_of_our_cas_path_is_refused:
        with_mounts(&[mount("v", "/var/run/secrets//sallyport.dev")]);
    gate_with_a_part_of_our_ca_is_refused:
        gate(json!({"volumeMounts": [{"name": "sallyport-ca", "mountPath": "/var/run/secrets/sallyport.dev",
                                      "subPath": "ca.crt"}]}));
}

#[test]
fn gate_keeps_the_service_accounts_mount() -> Result<()> {
    let made = AgentsNamespace::enforce()?.admitted(&pod(json!({})))?;
    let mounts = &made["spec"]["initContainers"][0]["volumeMounts"];
    let paths: Vec<_> = mounts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "/var/run/secrets/sallyport.dev",
            "/var/run/secrets/kubernetes.io/serviceaccount"
        ]
    );
    Ok(())
}

#[test]
fn gate_with_another_key_as_our_ca_is_refused() -> Result<()> {
    let items = json!([{"key": "other", "path": "ca.crt"}]);
    let volume =
        json!({"name": "sallyport-ca", "configMap": {"name": "sallyport-ca", "items": items}});
    AgentsNamespace::enforce()?.refuses(&pod(json!({"volumes": [volume]})), FIRST)
}

#[test]
fn gate_with_a_ca_of_the_pods_own_is_refused() -> Result<()> {
    let fake = json!([{"name": "sallyport-ca", "configMap": {"name": "of-my-own"}}]);
    AgentsNamespace::enforce()?.refuses(&pod(json!({"volumes": fake})), FIRST)
}

#[test]
fn gate_has_our_ca_even_where_the_pod_has_no_token() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let made = agents.admitted(&pod(json!({"automountServiceAccountToken": false})))?;
    let (_, volume) = agents_namespace::gate();
    let mounted = &made["spec"]["volumes"][0];
    assert_eq!(mounted["name"], volume["name"]);
    assert_eq!(mounted["configMap"]["name"], volume["configMap"]["name"]);
    Ok(())
}

#[test]
fn second_init_container_of_its_name_with_another_image_is_refused() -> Result<()> {
    let init = json!({"name": "init", "image": "i:1"});
    AgentsNamespace::enforce()?.refuses(
        &with_inits(&[init, gate(json!({"image": "busybox:1"}))]),
        FIRST,
    )
}

#[test]
fn container_of_its_name_is_refused() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let named = pod(json!({"containers": [gate(json!({}))]}));
    said(&agents.admission(&named)?, 422, "Duplicate value")
}
