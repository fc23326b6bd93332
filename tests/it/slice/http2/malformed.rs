//! Heads, bodies and frames that are not as the protocol wants them.

use anyhow::{Context, Result, ensure};
use harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE,
    block, block_of_bytes, frame,
};
use serde_json::json;

use super::{Agent, refusal};
use crate::slice::{
    Scene,
    hostile::{assert_counted, assert_nothing_slipped_through, assert_unharmed},
};

const PROTOCOL_ERROR: u32 = 1;

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
