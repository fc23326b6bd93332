//! What ends with its pod, and with a stop of its agent.

use std::net::TcpStream;

use anyhow::{Context, Result};
use harness::{Cluster, eventually};
use serde_json::json;

use super::{LIMIT, Node};
use crate::slice::{
    JSON,
    approvals::{asking, is_call},
    stops::{Stopped, with_objects},
};

#[test]
fn a_pod_that_is_gone_loses_listeners_and_connections() -> Result<()> {
    let node = Node::new()?;
    let target = node.namespace.path("configmaps?watch=true");
    let mut watch = node.start("GET", &target)?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);
    node.agent.gone(&node.pod.uid);
    assert!(watch.body(&head).is_err(), "the watch ended in order");
    eventually("the end of the listener", LIMIT, || {
        Ok(TcpStream::connect(node.address).is_err().then_some(()))
    })?;
    assert_eq!(node.gateway.metric("sallyport_captured_pods")?, 0.0);
    assert_eq!(node.gateway.metric("sallyport_captured_listeners")?, 0.0);
    Ok(())
}

#[test]
fn a_terminal_and_a_held_call_end_with_their_pod() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let node = Node::with(with_objects)?;
    let namespace = &node.namespace;
    namespace.create_running_pod("shell", &json!({}))?;
    let policy = asking(&namespace.name, "{hold: 60s}");
    let policy = policy.replace(", pods/exec", "");
    node.gateway.write_policy("ask.yaml", &policy)?;
    node.gateway.reload()?;
    let headers = [("Sec-WebSocket-Protocol", "v4.channel.k8s.io")];
    let target = namespace.path("pods/shell/exec?command=cat&stdin=true&stdout=true");
    let client = node.own_client()?;
    let mut shell = client.websocket(&target, &headers)?;
    shell.send(0, b"ping\n")?;
    assert_eq!(shell.receive()?, (1, b"ping\n".to_vec()));

    let object = json!({"metadata": {"name": "web"}});
    let configmaps = namespace.path("configmaps");
    let mut held = client.start_object("POST", &configmaps, JSON, &object)?;
    eventually("the held call", LIMIT, || {
        // Store and log: in the log alone, a hold whose intent has been shipped is a record of nothing known.
        let calls = node.gateway.audit_list(&[])?;
        Ok(calls.into_iter().find(|call| is_call(call, "pending")))
    })?;

    node.agent.gone(&node.pod.uid);
    assert!(held.response().is_err(), "the held call was answered");
    drop(shell.rest());
    let outcome = |what: &str, state: &str| {
        eventually(what, LIMIT, || {
            let calls = node.gateway.audit_list(&[])?;
            Ok(calls.into_iter().find(|call| {
                call["stage"] == "ResponseComplete"
                    && call["outcome"] == "aborted"
                    && call[state].is_object()
                    && (state == "approval" || call["objectRef"]["subresource"] == "exec")
            }))
        })
        .with_context(|| node.gateway.log())
    };
    let ended = outcome("the end of the terminal", "responseStatus")?;
    assert_eq!(
        ended["responseStatus"]["message"], "the pod is gone",
        "{ended:#}"
    );
    let left = outcome("the end of the held call", "approval")?;
    assert_eq!(left["approval"]["state"], "withdrawn", "{left:#}");

    // Nobody is asked any more, and nothing was made.
    let requests = format!(
        "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
        namespace.name
    );
    eventually("the withdrawn question", LIMIT, || {
        let list = namespace.api().get(&requests)?;
        let withdrawn = &list["items"][0]["status"]["withdrawnAt"];
        Ok(withdrawn.is_string().then_some(()))
    })?;
    let maps = namespace.api().get(&configmaps)?;
    let mut maps = maps["items"].as_array().into_iter().flatten();
    assert!(!maps.any(|map| map["metadata"]["name"] == "web"));
    Ok(())
}

#[test]
fn a_captured_pod_is_stopped_by_its_account_and_its_watch_ends_in_order() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let node = Node::with(with_objects)?;
    let target = node.namespace.path("configmaps?watch=true");
    let mut watch = node.start("GET", &target)?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let account = format!("system:serviceaccount:{}:coder", node.namespace.name);
    let stop = Stopped::new(&node.cluster, &json!({"agent": account}))?;
    eventually("the stop", LIMIT, || {
        Ok((node.list()?.status == 403).then_some(()))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    stop.lift()?;
    eventually("the resumed agent", LIMIT, || {
        Ok((node.list()?.status == 200).then_some(()))
    })
}
