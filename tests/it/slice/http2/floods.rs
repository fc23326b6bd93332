//! More than anyone needs, and readers that never read.

use anyhow::{Context, Result, ensure};
use harness::{
    eventually,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
        block, frame,
    },
};

use super::{Agent, CANCEL, LIMIT};
use crate::slice::{
    Scene,
    hostile::{
        assert_counted, assert_everything_heard_was_allowed, assert_nothing_slipped_through,
        assert_unharmed,
    },
};

/// `INITIAL_WINDOW_SIZE` of nothing.
const CLOSED_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

/// The other agent's calls go on meanwhile, on the gateway's same connections to the API server.
#[test]
fn streams_that_are_opened_and_reset_at_once_harm_their_own_connection_alone() -> Result<()> {
    const STREAMS: usize = 2_000;
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let before = scene.gateway.resident_bytes()?;
    let head = block(&agent.head("GET", &agent.path, &[]));
    let cancel = CANCEL.to_be_bytes();
    let mut frames = agent.connect()?;
    let mut bystander = agent.connect()?;
    for round in 0..50 {
        let mut burst = Vec::new();
        for _ in 0..STREAMS / 50 {
            let stream = frames.open();
            burst.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &head));
            burst.extend(frame(RST_STREAM, 0, stream, &cancel));
        }
        if frames.write_bytes(&burst).is_err() {
            break;
        }
        agent
            .assert_goes_on(&mut bystander)
            .with_context(|| format!("round {round}"))?;
    }
    drop((frames, bystander));
    scene.gateway.grows_by_less_than(before, 64 << 20)?;
    assert_unharmed(&scene)?;
    assert_everything_heard_was_allowed(&scene)
}

/// Slowly enough that each is accepted: the limit on unaccepted resets does not help here.
#[test]
fn calls_that_are_given_up_again_and_again_do_not_end_those_of_others() -> Result<()> {
    const CALLS: usize = 300;
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut bystander = agent.connect()?;
    let watch = format!("{}?watch=true", agent.path);
    let watched = bystander.request(&agent.head("GET", &watch, &[]))?;
    for _ in 0..CALLS / 30 {
        let mut frames = agent.connect()?;
        let streams: Vec<_> = (0..30)
            .map(|_| frames.request(&agent.head("GET", &watch, &[])))
            .collect::<Result<_>>()?;
        agent.assert_goes_on(&mut frames)?;
        for stream in streams {
            frames.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())?;
        }
        agent.assert_goes_on(&mut frames)?;
    }
    scene.create_configmap("paint")?;
    loop {
        let frame = bystander
            .read()?
            .context("the bystander's connection ended")?;
        ensure!(
            frame.stream != watched || frame.kind != RST_STREAM,
            "the bystander's watch was ended"
        );
        if frame.stream == watched && String::from_utf8_lossy(&frame.payload).contains("paint") {
            break;
        }
    }
    drop(bystander);
    assert_unharmed(&scene)
}

#[test]
fn a_head_without_an_end_ends_its_connection() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let before = scene.gateway.resident_bytes()?;
    for part in [block(&[("x-padding", &"x".repeat(1 << 10))]), vec![]] {
        let mut frames = agent.connect()?;
        let head = block(&agent.head("GET", &agent.path, &[]));
        frames.write(HEADERS, END_STREAM, 1, &head)?;
        let parts = frame(CONTINUATION, 0, 1, &part).repeat(100);
        while frames.write_bytes(&parts).is_ok() {}
        frames.end()?;
    }
    scene.gateway.grows_by_less_than(before, 32 << 20)?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn a_head_that_unpacks_to_more_than_is_read_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let head = block(&agent.head("GET", &agent.path, &[]));
    // One entry of the dynamic table, then a reference to it again and again.
    let value = "x".repeat(3_000);
    let entry = [&[0x40], &block(&[("x-padding", &value)])[1..]].concat();
    let bomb = [head, entry, vec![0xbe; 4_000]].concat();
    let mut frames = agent.connect()?;
    frames.write(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)?;
    let answer = frames.answer(1)?;
    ensure!(
        answer.closed || answer.reset.is_some() || answer.status == 431,
        "{answer:?}"
    );
    drop(frames);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn pings_and_settings_without_number_are_answered_and_cost_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let before = scene.gateway.resident_bytes()?;
    let mut frames = agent.connect()?;
    for _ in 0..200 {
        let flood = [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])].concat();
        frames.write_bytes(&flood.repeat(100))?;
        let mut pongs = 0;
        while pongs < 100 {
            let frame = frames.read()?.context("the connection ended")?;
            pongs += usize::from(frame.kind == PING && frame.flags & ACK != 0);
        }
    }
    agent.assert_goes_on(&mut frames)?;
    scene.gateway.grows_by_less_than(before, 16 << 20)?;
    drop(frames);
    assert_unharmed(&scene)
}

#[test]
fn data_in_frames_of_nothing_ends_its_connection() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let head = agent.head("POST", &agent.path, &[("content-type", "application/json")]);
    let mut frames = agent.connect()?;
    frames.write(HEADERS, END_HEADERS, 1, &block(&head))?;
    let nothing = frame(DATA, 0, 1, &[]).repeat(100);
    while frames.write_bytes(&nothing).is_ok() {}
    frames.end()?;
    assert_counted(&scene, "flood")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn readers_that_open_no_window_hold_nobody_up_and_leave_nothing_behind() -> Result<()> {
    const STALLED: usize = 60;
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let created = scene.post_configmap("large", &"x".repeat(100_000))?;
    assert_eq!(created.status, 201, "{}", created.text());
    scene.create_configmap("paint")?;
    let before = scene.gateway.resident_bytes()?;
    let mut frames = agent.connect()?;
    frames.write(SETTINGS, 0, 0, &CLOSED_WINDOW)?;
    let mut heads = 0;
    for _ in 0..STALLED {
        frames.request(&agent.head("GET", &agent.path, &[]))?;
    }
    while heads < STALLED {
        let frame = frames.read()?.context("the connection ended")?;
        heads += usize::from(frame.kind == HEADERS);
        ensure!(frame.kind != DATA, "data without a window");
    }
    let mut others = agent.connect()?;
    let small = format!("{}/paint", agent.path);
    let stream = others.request(&agent.head("GET", &small, &[]))?;
    assert_eq!(others.answer(stream)?.status, 200);
    scene.gateway.grows_by_less_than(before, 96 << 20)?;
    drop((frames, others));

    let aborted = eventually("the outcome of every stalled call", LIMIT, || {
        let calls = scene.gateway.audit_list(&["--verb", "list"])?;
        let aborted = calls
            .iter()
            .filter(|call| call["outcome"] == "aborted")
            .count();
        Ok((aborted >= STALLED).then_some(aborted))
    })?;
    assert_eq!(aborted, STALLED);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}
