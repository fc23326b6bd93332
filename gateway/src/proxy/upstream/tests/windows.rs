//! Flow control: what stalls one reader stalls no other.

use super::*;

const STREAMS: usize = 90;

/// One short of what a stream may have in flight: the last byte of a window is not what is tested.
const FULL: usize = (64 << 10) - 1;
const CHUNK: usize = 16 << 10;

/// Opens so many watches on one connection, and begins their answers.
async fn watches(
    server: &Server,
    upstream: &Arc<Upstream>,
    count: usize,
) -> (Wire, Vec<(u32, UpstreamBody)>) {
    let mut call = Call::watch(upstream);
    let mut wire = server.connection().await;
    let mut begun = Vec::new();
    loop {
        let stream = wire.request().await.stream;
        wire.begin(stream).await;
        begun.push((stream, call.answer().await.into_body()));
        if begun.len() == count {
            return (wire, begun);
        }
        call = Call::watch(upstream);
    }
}

async fn fill(wire: &mut Wire, stream: u32) {
    let bytes = vec![b'x'; CHUNK];
    let mut left = FULL;
    while left > 0 {
        let length = left.min(CHUNK);
        while wire.window < length as i64 {
            timeout(LIMIT, wire.read())
                .await
                .expect("the connection's window opens")
                .expect("the connection goes on");
        }
        wire.data(stream, &bytes[..length]).await;
        left -= length;
    }
}

async fn assert_answered(wire: &mut Wire, upstream: &Arc<Upstream>) {
    let call = Call::watch(upstream);
    let stream = wire.request().await.stream;
    wire.begin(stream).await;
    wire.data(stream, b"an event").await;
    let event = call.answer().await.into_body().frame().await;
    let event = event.expect("an event").expect("an event");
    assert_eq!(event.into_data().expect("data"), "an event");
}

#[tokio::test]
async fn readers_that_stop_on_every_other_stream_stall_nobody() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let (mut wire, stalled) = watches(&server, &upstream, STREAMS - 1).await;
    for (stream, _) in &stalled {
        fill(&mut wire, *stream).await;
    }
    assert_answered(&mut wire, &upstream).await;
}

#[tokio::test]
async fn a_window_comes_back_when_its_reader_leaves() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let (mut wire, mut open) = watches(&server, &upstream, 1).await;
    // Three times what the whole connection may have in flight.
    for _ in 0..3 * STREAMS {
        let (stream, body) = open.pop().expect("a stream");
        fill(&mut wire, stream).await;
        drop(body);
        wire.wait_for(RST_STREAM, stream).await;
        let call = Call::watch(&upstream);
        let stream = wire.request().await.stream;
        wire.begin(stream).await;
        open.push((stream, call.answer().await.into_body()));
    }
    drop(open);
    assert_answered(&mut wire, &upstream).await;
}

/// Lines of a followed log are as short as the agent's program makes them, and each comes in a frame of its own.
#[tokio::test]
async fn readers_that_stop_within_many_small_frames_end_nobody_elses_stream() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let (mut wire, stalled) = watches(&server, &upstream, 2).await;
    for (stream, _) in &stalled {
        wire.single_bytes(*stream, FULL).await;
    }
    assert_answered(&mut wire, &upstream).await;
}

#[tokio::test]
async fn what_came_before_a_cut_is_read_before_the_cut_is_seen() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let (mut wire, mut open) = watches(&server, &upstream, 1).await;
    let (stream, mut body) = open.pop().expect("a stream");
    wire.data(stream, b"an event").await;
    wire.data(stream, b"another").await;
    let first = body.frame().await.expect("an event").expect("an event");
    assert_eq!(first.into_data().expect("data"), "an event");
    drop(wire);
    // The connection's task sees the end before the reader asks again.
    while upstream.pool.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let second = body.frame().await.expect("an event").expect("an event");
    assert_eq!(second.into_data().expect("data"), "another");
    body.frame()
        .await
        .expect("an end")
        .expect_err("a cut is no clean end");
}
