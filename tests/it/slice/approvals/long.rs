//! Real clients whose calls are held for longer than any of them waits for an answer to a ping.

use std::{thread, time::Duration};

use anyhow::Result;
use harness::{GoClient, Tools, of_tier};

use super::*;

/// A client of HTTP/2 that is not answered gives up after 45 s, one of WebSocket after 61 s: only at full counts are
/// they held for long, and in every run each is answered, once.
fn held() -> Duration {
    Duration::from_secs(of_tier(2, 75))
}

const PYTHON: &str = r#"
import sys
from kubernetes import client, config

kubeconfig, namespace = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="python"))
client.CoreV1Api().create_namespaced_config_map(namespace, body)
"#;

const HTTP1: (&str, &str) = ("DISABLE_HTTP2", "1");

#[test]
fn clients_that_are_held_for_long_are_answered_and_nothing_is_sent_twice() -> Result<()> {
    let asked = Asked::with("{hold: 300s}")?;
    let namespace = &asked.scene.namespace.name;
    let kubectl = asked.scene.kubectl()?;
    let kubectl1 = asked.scene.kubectl()?.with_variable(HTTP1.0, HTTP1.1);
    let kubeconfig = kubectl.kubeconfig();
    let go = GoClient::new(&kubeconfig, namespace)?;
    let go1 = GoClient::new(&kubeconfig, namespace)?.with_variable(HTTP1.0, HTTP1.1);
    let (tools, path) = (Tools::from_env()?, kubeconfig.display().to_string());
    let names = ["kubectl", "kubectl1", "go", "go1", "python"];
    thread::scope(|threads| {
        let create = |kubectl, name| {
            let create = ["create", "configmap", name];
            threads.spawn(move || Kubectl::run(kubectl, &create))
        };
        let clients = [
            create(&kubectl, names[0]),
            create(&kubectl1, names[1]),
            threads.spawn(|| go.run(&["create", "go"], &[])),
            threads.spawn(|| go1.run(&["create", "go1"], &[])),
            threads.spawn(|| tools.run_python(PYTHON, &[&path, namespace])),
        ];
        asked.wait_for_held(clients.len())?;
        // How long they are held is what this is about.
        thread::sleep(held());
        for request in asked.requests()? {
            assert_eq!(request["status"]["votes"], serde_json::json!([]));
            asked.vote(&request, &approval("ann"))?;
        }
        let mut protocols = Vec::new();
        for client in clients {
            let said = client.join().expect("the client ran")?.success()?;
            let lines = said
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            protocols.extend(lines.map(|line: Value| line["protocols"].clone()));
        }
        assert_eq!(
            protocols,
            [
                serde_json::json!({"HTTP/2.0": 1}),
                serde_json::json!({"HTTP/1.1": 1})
            ]
        );
        anyhow::Ok(())
    })?;
    let sent = asked.scene.api_servers_events(|event| {
        event["objectRef"]["resource"] == "configmaps"
            && event["impersonatedUser"]["username"]
                == asked.scene.namespace.synthetic_user("coder")
            && event["verb"] == "create"
            && event["stage"] == "ResponseComplete"
            && !event["requestURI"].to_string().contains("dryRun")
    })?;
    assert_eq!(sent.len(), names.len(), "{sent:#?}");
    for name in names {
        assert!(asked.exists(name)?, "{name}");
    }
    Ok(())
}
