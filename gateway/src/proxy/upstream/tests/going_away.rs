//! GOAWAY: what lies above its last id was not processed, and nothing else may be sent again.

use super::*;

#[tokio::test]
async fn a_call_above_the_last_id_is_sent_once_more_on_another_connection() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let below = Call::post(&upstream, "below");
    let mut leaving = server.connection().await;
    let processed = leaving.request().await;
    let above = Call::post(&upstream, "above");
    leaving.request().await;

    leaving.go_away(processed.stream).await;
    let mut next = server.connection().await;
    let asked = next.request().await;
    assert_eq!(asked.body, "above");
    next.answer(asked.stream).await;
    above.answer().await;
    leaving.answer(processed.stream).await;
    below.answer().await;
}

#[tokio::test]
async fn a_call_at_the_last_id_is_answered_by_the_server_that_leaves() {
    for last in [1, 7, i32::MAX as u32] {
        let server = Server::http2().await;
        let upstream = server.upstream();
        let call = Call::post(&upstream, "paint");
        let mut leaving = server.connection().await;
        let asked = leaving.request().await;
        assert_eq!(asked.stream, 1);
        leaving.go_away(last).await;
        leaving.answer(asked.stream).await;
        call.answer().await;
        assert_next_is_new(&server, &upstream).await;
    }
}

#[tokio::test]
async fn a_call_at_the_last_id_whose_connection_closes_has_an_unknown_outcome() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::post(&upstream, "paint");
    let mut leaving = server.connection().await;
    let asked = leaving.request().await;
    leaving.go_away(asked.stream).await;
    drop(leaving);
    call.lost().await;
    assert_next_is_new(&server, &upstream).await;
}

#[tokio::test]
async fn watches_go_on_where_the_server_is_leaving_and_new_ones_go_elsewhere() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let watch = Call::watch(&upstream);
    let mut leaving = server.connection().await;
    let asked = leaving.request().await;
    leaving.begin(asked.stream).await;
    let mut body = watch.answer().await.into_body();
    leaving.go_away(asked.stream).await;

    let other = Call::watch(&upstream);
    let mut next = server.connection().await;
    let stream = next.request().await.stream;
    next.answer(stream).await;
    other.answer().await;

    leaving.data(asked.stream, b"an event").await;
    let event = body.frame().await.expect("an event").expect("an event");
    assert_eq!(event.into_data().expect("data"), "an event");
    leaving.end(asked.stream).await;
    while let Some(frame) = body.frame().await {
        frame.expect("a clean end");
    }
}

/// As when an API server goes down that holds many watches.
#[tokio::test]
async fn a_call_finds_its_way_past_any_number_of_connections_that_are_leaving() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let mut leaving = Vec::new();
    for _ in 0..2 * ATTEMPTS {
        let watch = Call::watch(&upstream);
        let mut wire = server.connection_of(1).await;
        let stream = wire.request().await.stream;
        wire.begin(stream).await;
        leaving.push((wire, stream, watch.answer().await));
    }
    for (wire, stream, _) in &mut leaving {
        // Room for more, were it not leaving. The ping's answer says that all was read.
        wire.take_streams(100).await;
        wire.go_away(*stream).await;
        wire.write(server::PING, 0, 0, &[0; 8]).await;
        wire.wait_for(server::PING, 0).await;
    }
    let watch = Call::watch(&upstream);
    let mut next = server.connection().await;
    let stream = next.request().await.stream;
    next.answer(stream).await;
    watch.answer().await;
}
