//! Connections to the API server that say nothing any more, and an API server that is away.

use std::time::Duration;

use anyhow::Result;
use harness::{Cluster, Relay, eventually};
use serde_json::{Value, json};

use super::{
    Scene,
    reload::{apply, freeze},
    stops::{Stopped, with_objects},
};

const LIMIT: Duration = Duration::from_secs(60);

/// The lists of AgentStops that the gateway has asked for: Kubernetes itself has its own.
fn lists(cluster: &Cluster) -> Result<usize> {
    let events = cluster.audit_events(|event| {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        let is_kubernetes = [
            "system:kube-",
            "system:serviceaccount:kube-",
            "system:apiserver",
        ];
        event["objectRef"]["resource"] == "agentstops"
            && event["verb"] == "list"
            && event["stage"] == "ResponseComplete"
            && !is_kubernetes.iter().any(|prefix| user.starts_with(prefix))
    })?;
    Ok(events.len())
}

fn recorded(scene: &Scene, verb: &str) -> Result<Value> {
    eventually(verb, LIMIT, || {
        let calls = scene.gateway.audit_list(&["--verb", verb])?;
        Ok(calls.into_iter().next())
    })
}

/// Calls that need a dead connection fail first.
fn refused_by(scene: &Scene, rule: &str) -> Result<()> {
    eventually(rule, LIMIT, || {
        let answer = scene.list()?;
        Ok((answer.status == 403 && answer.text().contains(rule)).then_some(()))
    })
}

#[test]
fn what_changes_while_the_api_server_is_not_heard_counts_soon_after() -> Result<()> {
    let private = Cluster::start_private()?;
    private.cluster.serve_objects()?;
    let relay = Relay::before(&private.cluster)?;
    let scene = Scene::on(private.cluster.clone(), |settings, _| {
        with_objects(settings.through(&relay))
    })?;
    assert_eq!(scene.list()?.status, 200);

    relay.silence();
    let account = format!("system:serviceaccount:{}:coder", scene.namespace.name);
    let stop = Stopped::new(&scene.cluster, &json!({"agent": account}))?;
    recorded(&scene, "stop")?;
    refused_by(&scene, "AgentStop/")?;
    assert_eq!(lists(&private.cluster)?, 1, "it was listed again");

    relay.hold();
    relay.cut();
    stop.lift()?;
    apply(&private.cluster, &freeze(&scene.namespace.name))?;
    relay.wait_for_held()?;
    relay.pass();
    recorded(&scene, "resume")?;
    refused_by(&scene, "freeze/nobody-lists")?;
    assert_eq!(lists(&private.cluster)?, 1, "it was listed again");
    Ok(())
}
