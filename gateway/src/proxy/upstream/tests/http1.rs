//! An API server, or what stands before it, that speaks nothing newer than HTTP/1.1.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::*;

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

async fn http1() -> Server {
    Server::speaking(&[b"http/1.1"]).await
}

/// The head of the next request, with as much of its body as `body` has bytes.
async fn request(stream: &mut TlsStream<TcpStream>, body: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        let byte = stream.read_u8().await.expect("a whole request");
        read.push(byte);
    }
    String::from_utf8(read).expect("text")
}

async fn answer(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("a peer");
    stream.flush().await.expect("a peer");
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let server = http1().await;
    let upstream = server.upstream();
    let call = Call::post(&upstream, "one");
    let mut stream = server.accept().await;
    let head = request(&mut stream, "one").await;
    assert!(
        head.starts_with(&format!("POST {CONFIGMAPS} HTTP/1.1\r\n")),
        "{head}"
    );
    answer(&mut stream, EMPTY).await;
    call.answer().await;
    settled(&upstream).await;
    let call = Call::post(&upstream, "two");
    request(&mut stream, "two").await;
    answer(&mut stream, EMPTY).await;
    call.answer().await;
}

/// Until the connection's task has seen that the answer has ended.
async fn settled(upstream: &Upstream) {
    while upstream.pool.idle.ready() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_at_once_have_a_connection_each() {
    let server = http1().await;
    let upstream = server.upstream();
    let calls: Vec<_> = (0..10).map(|_| Call::get(&upstream)).collect();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = server.accept().await;
        request(&mut stream, "").await;
        streams.push(stream);
    }
    for stream in &mut streams {
        answer(stream, EMPTY).await;
    }
    for call in calls {
        call.answer().await;
    }
}

/// Or a slow one keeps all others waiting, each for as long as those before it together.
#[tokio::test]
async fn connections_are_opened_at_the_same_time_once_it_is_known_what_the_server_speaks() {
    let server = http1().await;
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut stream = server.accept().await;
    request(&mut stream, "").await;
    let others = [Call::get(&upstream), Call::get(&upstream)];
    // Neither handshake goes on before both are begun.
    let first = server.listener.accept().await.expect("a connection");
    let before_the_first_is_given_up = dial::CONNECT_PATIENCE / 2;
    let second = timeout(before_the_first_is_given_up, server.listener.accept()).await;
    second
        .expect("the second does not wait for the first")
        .expect("a connection");
    drop((first, others));
    answer(&mut stream, EMPTY).await;
    call.answer().await;
}

#[tokio::test]
async fn an_answer_cut_before_its_head_leaves_an_unknown_outcome() {
    for begun in ["", "HTTP/1.1 200"] {
        let server = http1().await;
        let upstream = server.upstream();
        let call = Call::post(&upstream, "paint");
        let mut stream = server.accept().await;
        request(&mut stream, "paint").await;
        answer(&mut stream, begun.as_bytes()).await;
        drop(stream);
        call.lost().await;
        let sentinel = Call::post(&upstream, "sentinel");
        let mut stream = server.accept().await;
        request(&mut stream, "sentinel").await;
        answer(&mut stream, EMPTY).await;
        sentinel.answer().await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_closes_its_connection() {
    let server = http1().await;
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut stream = server.accept().await;
    request(&mut stream, "").await;
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
    answer(&mut stream, head).await;
    drop(call.answer().await);
    // However it ends, it ends.
    let ended = timeout(LIMIT, stream.read(&mut [0; 16])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
}

/// An answer that comes before the request's end leaves a connection that is still being written to.
#[tokio::test]
async fn a_connection_that_is_still_busy_is_not_waited_for() {
    let server = http1().await;
    let upstream = server.upstream();
    let large = "x".repeat(8 << 20);
    let early = Call::post(&upstream, &large);
    let mut stream = server.accept().await;
    request(&mut stream, "").await;
    answer(&mut stream, EMPTY).await;
    early.answer().await;

    let call = Call::get(&upstream);
    let mut other = timeout(LIMIT, server.accept())
        .await
        .expect("another connection");
    request(&mut other, "").await;
    answer(&mut other, EMPTY).await;
    call.answer().await;
}
