//! What a Go client needs while its call is held: an answer to its pings.

use anyhow::Result;
use harness::{
    Frames,
    frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, block},
};

use super::*;

/// RFC 9113, section 7.
const CANCEL: u32 = 8;

/// A connection on which the agent creates the ConfigMap `web`, and the number of that stream.
fn creates(asked: &Asked) -> Result<(Frames, u32)> {
    let client = asked.scene.gateway.client()?;
    let mut frames = client.frames()?;
    let bearer = format!("Bearer {}", asked.scene.token);
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", client.authority()),
        (":path", &asked.scene.configmaps()),
        ("authorization", &bearer),
        ("content-type", "application/json"),
    ]);
    let stream = frames.open();
    frames.write(HEADERS, END_HEADERS, stream, &head)?;
    frames.write(DATA, END_STREAM, stream, br#"{"metadata":{"name":"web"}}"#)?;
    Ok((frames, stream))
}

#[test]
fn pings_are_answered_while_a_call_is_held() -> Result<()> {
    let asked = Asked::with("{hold: 120s}")?;
    let (mut frames, stream) = creates(&asked)?;
    let request = asked.open_request()?;
    for n in 0..5 {
        frames.write(PING, 0, 0, &[n; 8])?;
        loop {
            let frame = frames.read()?.context("the connection ended")?;
            assert_ne!(frame.stream, stream, "the call is held");
            if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == [n; 8] {
                break;
            }
        }
    }
    asked.vote(&request, &approval("ann"))?;
    assert_eq!(frames.answer(stream)?.status, 201);
    Ok(())
}

/// A stream that is reset is a client that left.
#[test]
fn reset_stream_withdraws_its_question() -> Result<()> {
    let asked = Asked::with("{hold: 120s}")?;
    let (mut frames, stream) = creates(&asked)?;
    asked.open_request()?;
    frames.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())?;
    asked.request("its withdrawal", |one| {
        !one["status"]["withdrawnAt"].is_null()
    })?;
    Ok(())
}
