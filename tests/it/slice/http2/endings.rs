//! In which order a watch, and a gateway, end.

use anyhow::{Context, Result, ensure};
use harness::{
    eventually,
    frames::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM},
};

use super::{Agent, CANCEL, LIMIT};
use crate::slice::{Scene, hostile::assert_unharmed};

#[test]
fn a_watch_that_is_reset_is_aborted_here_and_ends_there() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    let watch = format!("{}?watch=true", agent.path);
    let stream = frames.request(&agent.head("GET", &watch, &[]))?;
    while frames.read()?.context("the connection ended")?.kind != HEADERS {}
    frames.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())?;
    let record = scene.outcome_of("the outcome of the watch", |call| call["verb"] == "watch")?;
    assert_eq!(record["outcome"], "aborted", "{record}");
    eventually("the end of the watch at the API server", LIMIT, || {
        let events = scene
            .cluster
            .audit_events_of(record["auditID"].as_str().context("no id")?)?;
        Ok(events
            .iter()
            .any(|event| event["stage"] == "ResponseComplete")
            .then_some(()))
    })?;
    agent.assert_goes_on(&mut frames)?;
    drop(frames);
    assert_unharmed(&scene)
}

/// An informer whose watch ends before it has read a GOAWAY lists everything anew, on the connection that closes.
#[test]
fn a_drain_says_goodbye_before_it_ends_watches_and_forgets_no_request() -> Result<()> {
    let (mut scene, relay) = Scene::behind_relay(|settings, _| Ok(settings))?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    let watch = format!("{}?watch=true", agent.path);
    let watched = frames.request(&agent.head("GET", &watch, &[]))?;
    while frames.read()?.context("the connection ended")?.kind != HEADERS {}
    relay.hold();
    let slow = frames.request(&agent.head("GET", &agent.path, &[]))?;
    relay.wait_for_held()?;
    scene.gateway.terminate()?;

    let mut seen = Vec::new();
    let mut late = None;
    while let Some(frame) = frames.read()? {
        let ends = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
        ensure!(frame.kind != RST_STREAM, "{frame:?}");
        if frame.kind == GOAWAY {
            ensure!(
                frame.payload[4..8] == [0; 4],
                "not in good order: {frame:?}"
            );
            seen.push((GOAWAY, u32::from_be_bytes(frame.payload[..4].try_into()?)));
            // A client that sent one more before it read the first.
            if late.is_none() {
                late = Some(frames.request(&agent.head("GET", &agent.path, &[]))?);
                relay.pass();
            }
        } else if ends {
            seen.push((END_STREAM, frame.stream));
        }
    }
    let late = late.context("no GOAWAY")?;
    let at = |wanted| seen.iter().position(|what| *what == wanted);
    assert_eq!(seen[0], (GOAWAY, i32::MAX as u32), "{seen:?}");
    for stream in [watched, slow, late] {
        ensure!(
            at((END_STREAM, stream)).is_some(),
            "{stream} did not end: {seen:?}"
        );
    }
    let lasts = seen.iter().filter(|(kind, _)| *kind == GOAWAY);
    ensure!(lasts.clone().all(|(_, last)| *last >= late), "{seen:?}");
    scene.gateway.wait_for_end()?;
    Ok(())
}

#[test]
fn kubectl_ends_its_watch_without_an_error_when_the_gateway_goes_down() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.create_configmap("paint")?;
    let kubectl = scene.kubectl()?;
    let mut watch = kubectl.follow(&["get", "configmaps", "--watch", "--no-headers"])?;
    watch.wait_for("the first line", |line| line.starts_with("paint"))?;
    // That one is of a list; this one is of the watch.
    scene.create_configmap("late")?;
    watch.wait_for("a line of the watch", |line| line.starts_with("late"))?;
    scene.gateway.stop()?;
    assert_eq!(watch.wait_for_end()?, 0);
    Ok(())
}
