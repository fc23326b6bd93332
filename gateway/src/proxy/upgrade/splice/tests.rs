use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{DuplexStream, ReadBuf, duplex};

use super::*;

const IDLE: Duration = Duration::from_secs(600);

/// A splice at work, with the far ends of both connections.
struct Scene {
    client: DuplexStream,
    upstream: DuplexStream,
    splicing: tokio::task::JoinHandle<(End, u64, u64)>,
}

impl Scene {
    fn new(capacity: usize) -> Self {
        let (client, near_client) = duplex(capacity);
        Self::with_client(client, near_client, capacity, pending())
    }

    fn with_client(
        client: DuplexStream,
        mut near_client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        capacity: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (upstream, mut near_upstream) = duplex(capacity);
        let splicing = tokio::spawn(async move {
            let traffic = Traffic::tapped(Tap::default());
            let end = splice(&mut near_client, &mut near_upstream, &traffic, IDLE, stop).await;
            let passed = |counter: &AtomicU64| counter.load(Relaxed);
            (end, passed(&traffic.up), passed(&traffic.down))
        });
        Self {
            client,
            upstream,
            splicing,
        }
    }

    async fn end(self) -> (End, u64, u64) {
        self.splicing.await.expect("no panic")
    }
}

/// A client whose connection breaks instead of ending.
struct Breaks(DuplexStream);

impl AsyncRead for Breaks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn say(stream: &mut DuplexStream, text: &[u8]) {
    stream
        .write_all(text)
        .await
        .expect("the other end is there");
}

async fn hear(stream: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    stream
        .read_exact(&mut heard)
        .await
        .expect("the other end is there");
    heard
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_as_they_are_in_both_directions() {
    let mut scene = Scene::new(64);
    let question: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let asking = question.clone();
    let answer: Vec<u8> = (0..=255).rev().cycle().take(70_001).collect();
    let answering = answer.clone();
    let (mut from_client, mut to_client) = split(scene.client);
    let asked = tokio::spawn(async move {
        to_client.write_all(&asking).await.expect("it is taken");
        to_client
    });
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        from_client.read_to_end(&mut heard).await.map(|_| heard)
    });
    assert_eq!(hear(&mut scene.upstream, question.len()).await, question);
    say(&mut scene.upstream, &answering).await;
    drop(scene.upstream);
    assert_eq!(
        scene.splicing.await.expect("no panic"),
        (End::InOrder, 100_000, 70_001)
    );
    drop(asked.await);
    assert_eq!(
        heard.await.expect("no panic").expect("a whole answer"),
        answer
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_client_closes_is_closed_upstream_and_the_rest_still_comes() {
    let mut scene = Scene::new(64);
    say(&mut scene.client, b"last").await;
    scene.client.shutdown().await.expect("it can be closed");
    let mut heard = Vec::new();
    scene
        .upstream
        .read_to_end(&mut heard)
        .await
        .expect("an end");
    assert_eq!(heard, b"last");
    say(&mut scene.upstream, b"the rest").await;
    assert_eq!(hear(&mut scene.client, 8).await, b"the rest");
    scene.upstream.shutdown().await.expect("it can be closed");
    assert_eq!(scene.end().await, (End::InOrder, 4, 8));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_ends_the_upstream() {
    let (client, near) = duplex(64);
    let mut scene = Scene::with_client(client, Breaks(near), 64, pending());
    say(&mut scene.client, b"half").await;
    assert_eq!(hear(&mut scene.upstream, 4).await, b"half");
    drop(scene.client);
    let mut nothing = Vec::new();
    scene
        .upstream
        .read_to_end(&mut nothing)
        .await
        .expect("an end");
    assert_eq!(
        scene.splicing.await.expect("no panic"),
        (End::ClientGone, 4, 0)
    );
}

/// Clients close without a word when they have read what ends the session.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_just_before_the_end_has_left_in_order() {
    let (client, near) = duplex(64);
    let mut scene = Scene::with_client(client, Breaks(near), 64, pending());
    say(&mut scene.upstream, b"all").await;
    assert_eq!(hear(&mut scene.client, 3).await, b"all");
    drop(scene.client);
    tokio::time::sleep(GRACE / 2).await;
    drop(scene.upstream);
    assert_eq!(
        scene.splicing.await.expect("no panic"),
        (End::InOrder, 0, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_any_byte_starts_it_anew() {
    let began = Instant::now();
    let mut scene = Scene::new(64);
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    say(&mut scene.client, b"?").await;
    assert_eq!(hear(&mut scene.upstream, 1).await, b"?");
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    say(&mut scene.upstream, b"!").await;
    assert_eq!(hear(&mut scene.client, 1).await, b"!");
    assert_eq!(scene.end().await, (End::Idle, 1, 1));
    assert_eq!(began.elapsed(), IDLE * 3 - Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_holds_one_buffer_and_is_idle() {
    let mut scene = Scene::new(1 << 10);
    let flood = vec![0; 1 << 20];
    let poured = timeout(IDLE * 2, scene.upstream.write_all(&flood)).await;
    assert!(poured.expect("the splice ended before").is_err());
    let (end, up, down) = scene.splicing.await.expect("no panic");
    assert_eq!((end, up), (End::Idle, 0));
    assert!(down <= BUFFER as u64, "{down} bytes passed");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_connection_at_once() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (client, near) = duplex(64);
    let scene = Scene::with_client(client, near, 64, async move {
        let _stopped = stopped.await;
    });
    drop(stop);
    assert_eq!(scene.end().await, (End::Stopped, 0, 0));
}
