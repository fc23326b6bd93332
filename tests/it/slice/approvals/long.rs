//! Real clients whose calls are held for longer than any of them waits for an answer to a ping.

use std::{
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

use anyhow::Result;
use harness::{GoClient, Tools, of_tier};
use serde_json::json;

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

/// Clients of HTTP/2 and of HTTP/1.1, each of which makes one ConfigMap.
struct Clients {
    kubectls: [Kubectl; 2],
    gos: [GoClient; 2],
    tools: Tools,
    namespace: String,
}

const NAMES: [&str; 5] = ["kubectl", "kubectl1", "go", "go1", "python"];

impl Clients {
    fn of(asked: &Asked) -> Result<Self> {
        let (scene, namespace) = (&asked.scene, &asked.scene.namespace.name);
        let kubectl = scene.kubectl()?;
        let go = || GoClient::new(&kubectl.kubeconfig(), namespace);
        Ok(Self {
            gos: [go()?, go()?.with_variable(HTTP1.0, HTTP1.1)],
            kubectls: [kubectl, scene.kubectl()?.with_variable(HTTP1.0, HTTP1.1)],
            tools: Tools::from_env()?,
            namespace: namespace.clone(),
        })
    }

    /// All at once, which goes on meanwhile.
    fn start<'s, 'e>(
        &'e self,
        threads: &'s Scope<'s, 'e>,
    ) -> [ScopedJoinHandle<'s, Result<Output>>; 5] {
        let [kubectl, kubectl1] = &self.kubectls;
        let [go, go1] = &self.gos;
        let create = |kubectl: &'e Kubectl, name: &'e str| {
            threads.spawn(move || kubectl.run(&["create", "configmap", name]))
        };
        [
            create(kubectl, NAMES[0]),
            create(kubectl1, NAMES[1]),
            threads.spawn(|| go.run(&["create", NAMES[2]], &[])),
            threads.spawn(|| go1.run(&["create", NAMES[3]], &[])),
            threads.spawn(|| {
                let kubeconfig = kubectl.kubeconfig().display().to_string();
                self.tools
                    .run_python(PYTHON, &[&kubeconfig, &self.namespace])
            }),
        ]
    }
}

/// What Go clients say of the protocols that they spoke.
fn protocols(said: &str) -> Vec<Value> {
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|mut line| line["protocols"].take())
        .collect()
}

#[test]
fn clients_that_are_held_for_long_are_answered_and_nothing_is_sent_twice() -> Result<()> {
    let asked = Asked::with("{hold: 300s}")?;
    let clients = Clients::of(&asked)?;
    let said = thread::scope(|threads| {
        let running = clients.start(threads);
        asked.wait_for_held(running.len())?;
        // How long they are held is what this is about.
        thread::sleep(held());
        for request in asked.requests()? {
            assert_eq!(request["status"]["votes"], json!([]));
            asked.vote(&request, &approval("ann"))?;
        }
        let said = running.map(|client| client.join().expect("the client ran")?.success());
        said.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let spoken: Vec<_> = said.iter().flat_map(|said| protocols(said)).collect();
    assert_eq!(spoken, [json!({"HTTP/2.0": 1}), json!({"HTTP/1.1": 1})]);
    each_was_sent_once(&asked)
}

fn each_was_sent_once(asked: &Asked) -> Result<()> {
    let agent = asked.scene.namespace.synthetic_user("coder");
    let sent = asked.scene.api_servers_events(|event| {
        event["objectRef"]["resource"] == "configmaps"
            && event["impersonatedUser"]["username"] == agent
            && event["verb"] == "create"
            && event["stage"] == "ResponseComplete"
            && !event["requestURI"].to_string().contains("dryRun")
    })?;
    assert_eq!(sent.len(), NAMES.len(), "{sent:#?}");
    for name in NAMES {
        assert!(asked.exists(name)?, "{name}");
    }
    Ok(())
}
