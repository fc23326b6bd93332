//! Watches: the same events in the same bytes, whatever the form and however they end.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use harness::{Call, Protocol, Wire};

use super::{
    Scene, Ways,
    compare::{Seen, steady},
    is,
    rust::Widgets,
};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const FORMS: [&str; 7] = [
    JSON,
    PROTOBUF,
    "application/vnd.kubernetes.protobuf;stream=watch,application/json",
    "application/json;stream=watch",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
];

/// A revision, and what happened after it.
fn churn(scene: &Scene) -> Result<String> {
    scene.create_configmap("before", "green")?;
    let revision = scene.revision()?;
    let api = scene.namespace.api();
    for name in ["one", "two", "three"] {
        scene.create_configmap(name, "red")?;
    }
    api.delete(&scene.path("v1", "configmaps/two"))?;
    scene.create_configmap("two", "blue")?;
    Ok(revision)
}

/// All calls both ways at once; each watch ends by itself.
async fn same_watches(ways: &Ways, calls: &[Call]) -> Result<Vec<Seen>> {
    try_join_all(calls.iter().map(async |call| {
        let seen = async |wire: &Wire| anyhow::Ok(Seen::of(wire.call(call).await?));
        let (direct, through) = tokio::try_join!(seen(&ways.direct), seen(&ways.through))
            .with_context(|| format!("{call:?}"))?;
        let [direct, steady] = [steadily(direct), steadily(through.clone())];
        ensure!(steady == direct, "{call:?}\n{}", direct.difference(&steady));
        Ok(through)
    }))
    .await
}

/// Without bookmarks, which come when the API server finds time for them, with the revision of that time.
fn steadily(mut seen: Seen) -> Seen {
    let is_bookmark = |frame: &&[u8]| frame.windows(8).any(|bytes| bytes == b"BOOKMARK");
    let kept: Vec<&[u8]> = frames(&seen)
        .into_iter()
        .filter(|frame| !is_bookmark(frame))
        .collect();
    seen.body = kept.concat();
    match seen.body.is_ascii() && !is_protobuf(&seen) {
        true => seen.steady(),
        false => seen,
    }
}

fn is_protobuf(seen: &Seen) -> bool {
    seen.header("content-type")
        .is_some_and(|value| value.starts_with(PROTOBUF))
}

/// The events as they are on the wire: lines, or in protobuf each behind its length.
fn frames(seen: &Seen) -> Vec<&[u8]> {
    if !is_protobuf(seen) {
        return seen.body.split_inclusive(|byte| *byte == b'\n').collect();
    }
    let (mut frames, mut rest) = (Vec::new(), seen.body.as_slice());
    while let Some((length, _)) = rest.split_first_chunk() {
        let end = 4 + u32::from_be_bytes(*length) as usize;
        let (frame, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        frames.push(frame);
        rest = after;
    }
    frames.push(rest);
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_the_same_in_every_form() -> Result<()> {
    let scene = Scene::new()?;
    let revision = churn(&scene)?;
    let watch = format!(
        "{}?watch=true&resourceVersion={revision}&timeoutSeconds=4",
        scene.path("v1", "configmaps")
    );
    let mut calls: Vec<Call> = FORMS.map(|form| Call::get(&watch).accepting(form)).into();
    calls.push(Call::get(&watch).with_header("accept-encoding", "gzip"));
    calls.push(Call::get(&format!("{watch}&labelSelector=colour%3Dred")));
    calls.push(Call::get(&format!(
        "{watch}&fieldSelector=metadata.name%3Dtwo"
    )));
    calls.push(Call::get(&format!("{watch}&allowWatchBookmarks=true")));
    calls.push(Call::get(&watch.replace("/v1/", "/v1/watch/")));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let seen = same_watches(&scene.ways(protocol)?, &calls).await?;
        for (seen, call) in seen.iter().zip(&calls) {
            is(200)(seen)?;
            ensure!(!seen.body.is_empty(), "no events: {call:?} {seen}");
        }
        // Three creations, a deletion, and a creation.
        assert_eq!(
            seen[0].text().matches(r#""type":"ADDED""#).count(),
            4,
            "{}",
            seen[0]
        );
        assert_eq!(seen[0].text().matches(r#""type":"DELETED""#).count(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_list_ends_its_initial_events_with_a_bookmark() -> Result<()> {
    let scene = Scene::new()?;
    churn(&scene)?;
    let target = scene.path(
        "v1",
        "configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5",
    );
    let calls = FORMS.map(|form| Call::get(&target).accepting(form));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for seen in same_watches(&scene.ways(protocol)?, &calls).await? {
            is(200)(&seen)?;
            ensure!(seen.text().contains("k8s.io/initial-events-end"), "{seen}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_gone_is_gone_both_ways() -> Result<()> {
    let scene = Scene::new()?;
    // The API server keeps no event from before it knew the resource.
    let widgets = Widgets::define(&scene.namespace)?;
    let expired = scene.path(
        &widgets.resource.api_version,
        "widgets?watch=true&resourceVersion=1&timeoutSeconds=1",
    );
    let calls = [
        Call::get(&expired),
        Call::get(&expired).accepting("application/json;as=Table;v=v1;g=meta.k8s.io"),
    ];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for seen in same_watches(&scene.ways(protocol)?, &calls).await? {
            ensure!(steady(&seen.text()).contains("410"), "not expired: {seen}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_while_the_watch_goes_on() -> Result<()> {
    let scene = Scene::new()?;
    let watch = Call::get(&scene.path("v1", "configmaps?watch=true&labelSelector=colour"));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let ways = scene.ways(protocol)?;
        let mut events = ways.through.start(&watch).await?;
        assert_eq!(events.head.status, 200);
        let name = format!("late-{protocol:?}").to_lowercase();
        tokio::task::block_in_place(|| scene.create_configmap(&name, "red"))?;
        let mut seen = String::new();
        while !seen.contains(&name) {
            let data = events.next().await?.context("the watch ended")?;
            seen += &String::from_utf8_lossy(&data);
        }
    }
    Ok(())
}
