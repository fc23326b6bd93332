//! HTTP/2 that no client of Kubernetes sends, and the order of frames in which the gateway goes down.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    Frames, eventually,
    frames::{
        ACK, Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, block, block_of_bytes, frame,
    },
};
use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{
        assert_counted, assert_everything_heard_was_allowed, assert_nothing_slipped_through,
        assert_unharmed,
    },
};

const LIMIT: Duration = Duration::from_secs(20);

const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;

/// `INITIAL_WINDOW_SIZE` of nothing.
const CLOSED_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

/// An agent that writes its own frames.
struct Agent<'a> {
    scene: &'a Scene,
    bearer: String,
    path: String,
}

impl<'a> Agent<'a> {
    fn of(scene: &'a Scene) -> Self {
        Self {
            scene,
            bearer: format!("Bearer {}", scene.token),
            path: scene.configmaps(),
        }
    }

    fn connect(&self) -> Result<Frames> {
        self.scene.gateway.client()?.frames()
    }

    /// A whole head that says what `other` says, too.
    fn head<'h>(
        &'h self,
        method: &'h str,
        path: &'h str,
        other: &[(&'h str, &'h str)],
    ) -> Vec<(&'h str, &'h str)> {
        let head = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "gateway"),
            (":path", path),
            ("authorization", &self.bearer),
        ];
        [&head, other].concat()
    }

    fn list(&self, frames: &mut Frames) -> Result<Answer> {
        let stream = frames.request(&self.head("GET", &self.path, &[]))?;
        frames.answer(stream)
    }

    /// The connection still serves.
    fn assert_goes_on(&self, frames: &mut Frames) -> Result<()> {
        let answer = self.list(frames)?;
        ensure!(answer.status == 200, "{answer:?}");
        // What was read is room again: the window of a connection is 64 KiB, and these are many calls.
        let read = u32::try_from(answer.body.len())?;
        frames.write(WINDOW_UPDATE, 0, 0, &read.to_be_bytes())
    }
}

fn refusal(answer: &Answer, code: u16) -> Result<Value> {
    ensure!(answer.status == code, "{answer:?}");
    let status: Value = serde_json::from_slice(&answer.body)?;
    ensure!(
        status["kind"] == "Status" && status["code"] == code,
        "{status}"
    );
    Ok(status)
}

/// A request that is malformed ends its stream, or where its bytes are no header at all its connection.
fn assert_malformed(agent: &Agent<'_>, name: &str, block: &[u8]) -> Result<()> {
    let mut frames = agent.connect()?;
    let stream = frames.open();
    frames.write(HEADERS, END_STREAM | END_HEADERS, stream, block)?;
    let answer = frames.answer(stream)?;
    ensure!(
        answer.status == 0 && (answer.closed || answer.reset == Some(PROTOCOL_ERROR)),
        "{name}: {answer:?}"
    );
    if answer.closed {
        return Ok(());
    }
    agent
        .assert_goes_on(&mut frames)
        .with_context(|| name.to_owned())
}

#[test]
fn malformed_heads_are_reset_and_their_connection_goes_on() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let get = |other: &[(&'static str, &'static str)]| {
        let mut head = vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "gateway"),
            (":path", agent.path.as_str()),
            ("authorization", agent.bearer.as_str()),
        ];
        head.extend(other);
        head
    };
    let without = |name: &str| -> Vec<_> {
        get(&[])
            .into_iter()
            .filter(|(key, _)| *key != name)
            .collect()
    };
    for (name, head) in [
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("two paths", get(&[(":path", "/api/v1/secrets")])),
        (
            "a pseudo header behind others",
            get(&[(":protocol", "websocket")]),
        ),
        (
            "an unknown pseudo header",
            get(&[(":impersonate", "admin")]),
        ),
        ("a pseudo header of answers", get(&[(":status", "200")])),
        ("a name in capitals", get(&[("Impersonate-User", "admin")])),
        ("a name with a space", get(&[("impersonate user", "admin")])),
        ("a name with a colon", get(&[("impersonate:user", "admin")])),
        ("an empty name", get(&[("", "admin")])),
        ("Connection", get(&[("connection", "authorization")])),
        ("Keep-Alive", get(&[("keep-alive", "timeout=5")])),
        ("Proxy-Connection", get(&[("proxy-connection", "close")])),
        (
            "Transfer-Encoding",
            get(&[("transfer-encoding", "chunked")]),
        ),
        ("Upgrade", get(&[("upgrade", "websocket")])),
        ("TE", get(&[("te", "gzip")])),
        ("a length without a body", get(&[("content-length", "5")])),
    ] {
        assert_malformed(&agent, name, &block(&head))?;
    }
    assert_counted(&scene, "stream")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn bytes_that_end_a_line_elsewhere_are_in_no_header() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    for byte in [b'\0', b'\r', b'\n', 0x0b, 0x7f] {
        let value = [b"a", &[byte][..], b"impersonate-user: admin"].concat();
        for name in [&b"accept"[..], b":path", b":authority", b":method"] {
            let head = agent.head("GET", &agent.path, &[]);
            let known = head
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
                .filter(|(key, _)| *key != name);
            let planted = [(name, &value[..])];
            // Pseudo headers come first.
            let block = block_of_bytes(planted.into_iter().chain(known));
            let name = format!("{byte:#x} in {}", String::from_utf8_lossy(name));
            assert_malformed(&agent, &name, &block)?;
        }
    }
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn what_is_whole_but_unwanted_gets_a_status() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    for (name, head, code) in [
        ("an asterisk", agent.head("OPTIONS", "*", &[]), 400),
        (
            "a method of our own",
            agent.head("SMUGGLE", &agent.path, &[]),
            400,
        ),
        (
            "CONNECT",
            vec![
                (":method", "CONNECT"),
                (":authority", "elsewhere:443"),
                ("authorization", &agent.bearer),
            ],
            400,
        ),
        (
            "another user",
            agent.head("GET", &agent.path, &[("impersonate-user", "admin")]),
            403,
        ),
    ] {
        let stream = frames.request(&head)?;
        refusal(&frames.answer(stream)?, code).context(name)?;
    }
    for (name, head) in [
        (
            "another host",
            agent.head("GET", &agent.path, &[("host", "elsewhere")]),
        ),
        (
            "trailers are welcome",
            agent.head("GET", &agent.path, &[("te", "trailers")]),
        ),
    ] {
        let stream = frames.request(&head)?;
        assert_eq!(frames.answer(stream)?.status, 200, "{name}");
    }
    for path in ["", "api/v1/pods", "http://elsewhere/api"] {
        let stream = frames.request(&agent.head("GET", path, &[]))?;
        let answer = frames.answer(stream)?;
        ensure!(
            answer.reset.is_some() || refusal(&answer, 400).is_ok(),
            "{path:?}: {answer:?}"
        );
    }
    let extended = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "gateway"),
        (":path", agent.path.as_str()),
        ("authorization", agent.bearer.as_str()),
    ];
    assert_malformed(&agent, "extended CONNECT", &block(&extended))?;
    agent.assert_goes_on(&mut frames)?;
    drop(frames);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn a_body_of_another_length_than_its_head_says_is_not_sent_on() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    let body = serde_json::to_vec(&json!({"metadata": {"name": "paint"}}))?;
    for length in [0, 1, body.len() - 1, body.len() + 1] {
        let length = length.to_string();
        let head = agent.head(
            "POST",
            &agent.path,
            &[
                ("content-type", "application/json"),
                ("content-length", &length),
            ],
        );
        let stream = frames.open();
        frames.write(HEADERS, END_HEADERS, stream, &block(&head))?;
        frames.write(DATA, END_STREAM, stream, &body)?;
        let answer = frames.answer(stream)?;
        ensure!(answer.status != 201, "{length}: {answer:?}");
    }
    ensure!(scene.configmap("paint").is_err(), "it was created");
    agent.assert_goes_on(&mut frames)?;
    drop(frames);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn a_body_with_trailers_is_read_and_its_trailers_are_not() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    let body = serde_json::to_vec(&json!({"metadata": {"name": "paint"}}))?;
    let head = agent.head("POST", &agent.path, &[("content-type", "application/json")]);
    let stream = frames.open();
    frames.write(HEADERS, END_HEADERS, stream, &block(&head))?;
    frames.write(DATA, 0, stream, &body)?;
    let trailers = block(&[("impersonate-user", "admin"), ("content-length", "5")]);
    frames.write(HEADERS, END_STREAM | END_HEADERS, stream, &trailers)?;
    assert_eq!(frames.answer(stream)?.status, 201);
    drop(frames);
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn frames_that_break_the_protocol_end_their_own_connection() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let head = block(&agent.head("GET", &agent.path, &[]));
    let whole = END_STREAM | END_HEADERS;
    let request = |stream| frame(HEADERS, whole, stream, &head);
    for (name, bytes) in [
        ("data on an idle stream", frame(DATA, 0, 7, b"x")),
        ("a head on stream 0", request(0)),
        ("a head on an even stream", request(2)),
        (
            "a head on a stream before",
            [request(5), request(3)].concat(),
        ),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        (
            "settings of no whole length",
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        (
            "a window larger than any",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "a frame between the parts of a head",
            [
                frame(HEADERS, END_STREAM, 1, &head),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
        ),
        (
            "a part of a head that began nowhere",
            frame(CONTINUATION, END_HEADERS, 1, &head),
        ),
        (
            "padding longer than its frame",
            frame(DATA, 8, 1, &[200, 0, 0]),
        ),
        (
            "a table index that does not exist",
            frame(HEADERS, whole, 1, &[0xff, 0xff, 0x7f]),
        ),
        (
            "a frame larger than was agreed",
            frame(DATA, 0, 1, &[0; 17_000]),
        ),
    ] {
        let mut frames = agent.connect()?;
        // It may have closed before everything was written.
        let _closed = frames.write_bytes(&bytes);
        frames.end().with_context(|| name.to_owned())?;
    }
    assert_counted(&scene, "malformed")?;
    assert_unharmed(&scene)?;
    assert_nothing_slipped_through(&scene)
}

#[test]
fn frames_that_mean_nothing_are_taken_as_such() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Agent::of(&scene);
    let mut frames = agent.connect()?;
    // A stream that depends on itself, and frames that nobody has defined yet.
    for (kind, stream, payload) in [
        (0xbe, 0, &b"anything"[..]),
        (0xbf, 1, b"anything"),
        (PRIORITY, 9, &[0, 0, 0, 3, 1]),
    ] {
        frames.write(kind, 0, stream, payload)?;
    }
    agent.assert_goes_on(&mut frames)?;
    let mut selfish = agent.connect()?;
    let _closed = selfish.write(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]);
    drop((frames, selfish));
    assert_unharmed(&scene)
}

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
    let grown = scene.gateway.resident_bytes()?.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
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
    let grown = scene.gateway.resident_bytes()?.saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
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
    let grown = scene.gateway.resident_bytes()?.saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
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
    let grown = scene.gateway.resident_bytes()?.saturating_sub(before);
    assert!(grown < 96 << 20, "{grown} bytes more");
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
            .audit_events(|event| event["auditID"] == record["auditID"])?;
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
    scene.gateway.stop()?;
    assert_eq!(watch.wait_for_end()?, 0);
    Ok(())
}
