//! Pods that could go around the gateway.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::agents_namespace::{AgentsNamespace, pod, said};

fn with_security(security: Value) -> Value {
    pod(json!({"containers": [{"name": "agent", "image": "a:1", "securityContext": security}]}))
}

fn with_sysctl(name: &str, value: &str) -> Value {
    pod(json!({"securityContext": {"sysctls": [{"name": name, "value": value}]}}))
}

macro_rules! refused {
    ($($name:ident: $pod:expr => $message:literal;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            AgentsNamespace::enforce()?.refuses(&$pod, $message)
        }
    )*};
}

refused! {
    host_network_is_refused: pod(json!({"hostNetwork": true})) => "must not use hostNetwork, hostPID or hostIPC";
    host_pid_is_refused: pod(json!({"hostPID": true})) => "must not use hostNetwork, hostPID or hostIPC";
    host_ipc_is_refused: pod(json!({"hostIPC": true})) => "must not use hostNetwork, hostPID or hostIPC";
    host_path_is_refused:
        pod(json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]})) => "must not use hostPath";
    host_port_is_refused:
        pod(json!({"containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "hostPort": 80}]}]}))
        => "must not use host ports";
    host_port_of_an_init_container_is_refused:
        pod(json!({"initContainers": [{"name": "i", "image": "i:1", "restartPolicy": "Always",
                                       "ports": [{"containerPort": 80, "hostPort": 80}]}]}))
        => "must not use host ports";
    privileged_container_is_refused: with_security(json!({"privileged": true})) => "must not be privileged";
    privileged_init_container_is_refused:
        pod(json!({"initContainers": [{"name": "i", "image": "i:1", "securityContext": {"privileged": true}}]}))
        => "must not be privileged";
    added_net_raw_is_refused:
        with_security(json!({"capabilities": {"add": ["NET_RAW"]}})) => "no capability but NET_BIND_SERVICE";
    added_capability_in_a_user_namespace_is_refused: {
        let mut agent = with_security(json!({"capabilities": {"add": ["NET_ADMIN"]}}));
        agent["spec"]["hostUsers"] = json!(false);
        agent
    } => "no capability but NET_BIND_SERVICE";
    unmasked_proc_is_refused: {
        let mut agent = with_security(json!({"procMount": "Unmasked"}));
        agent["spec"]["hostUsers"] = json!(false);
        agent
    } => "must not unmask /proc";
    range_of_local_ports_is_refused:
        with_sysctl("net.ipv4.ip_local_port_range", "15000 15100") => "must not set the sysctls";
    reserved_ports_are_refused: with_sysctl("net.ipv4.ip_local_reserved_ports", "") => "must not set the sysctls";
    range_of_local_ports_with_slashes_is_refused:
        with_sysctl("net/ipv4/ip_local_port_range", "15000 15100") => "must not set the sysctls";
    mirror_of_a_static_pod_is_refused: json!({
        "metadata": {"name": "agent", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "local", "containers": [{"name": "agent", "image": "a:1"}]},
    }) => "static pods do not belong";
}

/// As if the agent had called from the node's network.
#[test]
fn probes_and_hooks_that_name_a_host_are_refused() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    for handler in [
        json!({"httpGet": {"port": 443, "host": "10.96.0.1"}}),
        json!({"tcpSocket": {"port": 443, "host": "10.96.0.1"}}),
    ] {
        for (field, value) in handled_by(&handler) {
            for kind in ["containers", "initContainers"] {
                let refused = agents.refuses(&with_handler(kind, field, &value), "name a host");
                refused.with_context(|| format!("{field} of {kind}: {value}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn probes_and_hooks_of_the_pod_itself_are_admitted() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    for handler in [
        json!({"httpGet": {"port": 80, "path": "/healthz"}}),
        json!({"tcpSocket": {"port": 80}}),
    ] {
        for (field, value) in handled_by(&handler) {
            for kind in ["containers", "initContainers"] {
                let admitted = agents.admitted(&with_handler(kind, field, &value));
                admitted.with_context(|| format!("{field} of {kind}: {value}"))?;
            }
        }
    }
    Ok(())
}

/// Every field of a container that can hold the handler.
fn handled_by(handler: &Value) -> [(&'static str, Value); 5] {
    [
        ("livenessProbe", handler.clone()),
        ("readinessProbe", handler.clone()),
        ("startupProbe", handler.clone()),
        ("lifecycle", json!({"postStart": handler})),
        ("lifecycle", json!({"preStop": handler})),
    ]
}

fn with_handler(kind: &str, field: &str, handler: &Value) -> Value {
    let mut container = json!({"name": "c", "image": "c:1", field: handler});
    if kind == "initContainers" {
        // Of init containers only sidecars may have probes.
        container["restartPolicy"] = json!("Always");
    }
    pod(json!({kind: [container]}))
}

#[test]
fn runtime_with_a_kernel_of_its_own_is_refused() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let api = agents.namespace.api();
    let class = format!("vm-{}", agents.namespace.name);
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    api.create(
        classes,
        &json!({"metadata": {"name": class}, "handler": "kata"}),
    )?;
    let refused = agents.refuses(
        &pod(json!({"runtimeClassName": class})),
        "a runtime that shares the host's kernel",
    );
    api.delete(&format!("{classes}/{class}"))?;
    refused
}

/// A gate for Linux makes it invalid before any policy looks at it.
#[test]
fn windows_pod_is_refused() -> Result<()> {
    let agents = AgentsNamespace::enforce()?;
    let windows = pod(json!({"os": {"name": "windows"}}));
    said(
        &agents.admission(&windows)?,
        422,
        "cannot be set for a windows pod",
    )
}

#[test]
fn user_namespace_alone_is_admitted() -> Result<()> {
    AgentsNamespace::enforce()?
        .admitted(&pod(json!({"hostUsers": false})))
        .map(drop)
}

#[test]
fn other_sysctls_are_admitted() -> Result<()> {
    AgentsNamespace::enforce()?
        .admitted(&with_sysctl("net.ipv4.tcp_syncookies", "1"))
        .map(drop)
}
