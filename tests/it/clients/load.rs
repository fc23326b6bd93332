//! What a terminal dashboard keeps going all day: forty watches, and discovery, lists and shells beside them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use harness::{Answer, Call, Kubectl, Protocol, Wire, of_tier};
use serde_json::{Value, json};

use super::Scene;

const WATCHES_OF_EACH: usize = 5;
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Eight resources that no controller of the test control plane touches: where, and the least object.
fn resources() -> [(&'static str, &'static str, Value); 8] {
    let containers = json!([{"name": "web", "image": "registry.invalid/web:1"}]);
    [
        ("v1", "configmaps", json!({})),
        ("v1", "secrets", json!({})),
        ("v1", "limitranges", json!({"spec": {"limits": []}})),
        (
            "v1",
            "podtemplates",
            json!({"template": {"spec": {"containers": containers}}}),
        ),
        ("coordination.k8s.io/v1", "leases", json!({"spec": {}})),
        (
            "networking.k8s.io/v1",
            "networkpolicies",
            json!({"spec": {"podSelector": {}}}),
        ),
        ("policy/v1", "poddisruptionbudgets", json!({"spec": {}})),
        (
            "rbac.authorization.k8s.io/v1",
            "roles",
            json!({"rules": []}),
        ),
    ]
}

/// Creates and deletes `count` objects of each resource; the type and name of each event.
fn churn(scene: &Scene, count: usize) -> Result<Vec<(String, String)>> {
    let api = scene.namespace.api();
    let mut events = Vec::new();
    for number in 0..count {
        let name = format!("load-{number}");
        for (group_version, resource, mut object) in resources() {
            object["metadata"] = json!({"name": name, "labels": {"load": "true"}});
            let path = scene.path(group_version, resource);
            api.create(&path, &object)?;
            api.delete(&format!("{path}/{name}"))?;
        }
        events.push(("ADDED".to_owned(), name.clone()));
        events.push(("DELETED".to_owned(), name));
    }
    Ok(events)
}

/// The next `count` events of a watch, in either form.
async fn events(mut watch: Answer, count: usize) -> Result<Vec<(String, String)>> {
    let mut seen = Vec::new();
    let mut text = Vec::new();
    while seen.len() < count {
        let data = watch.next().await?.context("the watch ended")?;
        text.extend_from_slice(&data);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            let object = match event["object"]["kind"].as_str() {
                Some("Table") => &event["object"]["rows"][0]["object"],
                _ => &event["object"],
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            seen.push((text(&event["type"]), text(&object["metadata"]["name"])));
        }
    }
    Ok(seen)
}

/// Discovery and a screen full of lists, again and again.
async fn browse(wire: &Wire, scene: &Scene, rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        let mut calls = vec![
            Call::get("/api").accepting(AGGREGATED),
            Call::get("/apis").accepting(AGGREGATED),
            Call::get("/version"),
        ];
        for (group_version, resource, _) in resources() {
            let list = scene.path(group_version, &format!("{resource}?limit=500"));
            calls.push(Call::get(&list).accepting(TABLE));
        }
        for response in try_join_all(calls.iter().map(|call| wire.call(call))).await? {
            ensure!(response.status == 200, "{}", response.text());
        }
    }
    Ok(())
}

/// A shell in a pod, again and again.
fn enter(kubectl: &Kubectl, rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        let said = kubectl.ok(&["exec", "shell", "--", "echo", "hello"])?;
        ensure!(said == "hello\n", "{said}");
    }
    Ok(())
}

async fn nothing_is_lost(protocol: Protocol) -> Result<()> {
    let scene = Arc::new(Scene::new()?);
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let wire = scene.ways(protocol)?.through;
    let (objects, rounds) = of_tier((10, 5), (200, 100));
    let revision = scene.revision()?;
    let watches = resources().map(|(group_version, resource, _)| {
        let target = format!("{resource}?watch=true&labelSelector=load&resourceVersion={revision}");
        Call::get(&scene.path(group_version, &target))
    });
    let watches = (0..WATCHES_OF_EACH).flat_map(|number| {
        let form = [TABLE, "application/json"][number % 2];
        watches.clone().map(|watch| watch.accepting(form))
    });
    let watches = watches.collect::<Vec<_>>();
    let open = try_join_all(watches.iter().map(|watch| wire.start(watch))).await?;
    assert_eq!(open.len(), 40);
    assert!(open.iter().all(|watch| watch.head.status == 200));

    let churning = Arc::clone(&scene);
    let churned = tokio::task::spawn_blocking(move || churn(&churning, objects));
    let watched = try_join_all(open.into_iter().map(|watch| events(watch, 2 * objects)));
    let [_, kubectl] = scene.kubectls()?;
    let entered = tokio::task::spawn_blocking(move || enter(&kubectl, rounds));
    let (watched, (), churned, ()) = tokio::try_join!(
        watched,
        browse(&wire, &scene, rounds),
        async { churned.await? },
        async { entered.await? }
    )?;
    for (seen, watch) in watched.iter().zip(&watches) {
        ensure!(*seen == churned, "{watch:?}\n{seen:?}\n{churned:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_watches_on_one_http2_connection_lose_nothing() -> Result<()> {
    nothing_is_lost(Protocol::Http2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_watches_over_http1_lose_nothing() -> Result<()> {
    nothing_is_lost(Protocol::Http1).await
}
