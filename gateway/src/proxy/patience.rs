//! Limits on how long a client may keep a connection from going on.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// For the preface of HTTP/2, which a client sends at once. hyper's own limits begin behind it.
pub(super) const PREFACE_PATIENCE: Duration = Duration::from_secs(10);

/// For anything to be read of what was sent. A client of HTTP/2 reads whatever its streams wait for, and one of
/// HTTP/1.1 may stop within an answer for as long as it likes, but not at the connection's end.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(60);

const PREFACE_LENGTH: usize = 24;

/// A connection that fails where its client is too slow.
pub(super) struct Patient<T> {
    stream: T,
    /// How much of the preface is missing.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    /// Whether answers are limited too, and not only the end.
    limits_writes: bool,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) fn http1(stream: T) -> Self {
        Self {
            stream,
            preface: None,
            limits_writes: false,
            stalled: None,
        }
    }

    pub(super) fn http2(stream: T) -> Self {
        Self {
            stream,
            preface: Some((PREFACE_LENGTH, Box::pin(sleep(PREFACE_PATIENCE)))),
            limits_writes: true,
            stalled: None,
        }
    }

    /// The result, unless it has been pending for too long.
    fn limit<R>(
        &mut self,
        polled: Poll<io::Result<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(WRITE_PATIENCE)));
        stalled.as_mut().poll(cx).map(|()| Err(too_slow()))
    }

    fn limit_write<R>(
        &mut self,
        polled: Poll<io::Result<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if self.limits_writes {
            self.limit(polled, cx)
        } else {
            polled
        }
    }
}

fn too_slow() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((missing, patience)) = &mut self.preface else {
            return polled;
        };
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.preface = None;
        } else if polled.is_pending() {
            return patience.as_mut().poll(cx).map(|()| Err(too_slow()));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit_write(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit_write(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.limit_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    const FULL: usize = 64;

    fn pair() -> (DuplexStream, DuplexStream) {
        duplex(FULL)
    }

    fn assert_slow<R: std::fmt::Debug>(result: io::Result<R>) {
        let error = result.expect_err("the client is too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_that_does_not_come_whole_ends_the_connection() {
        let (mut client, server) = pair();
        let mut server = Patient::http2(server);
        let begun = Instant::now();
        client.write_all(b"PRI * HTTP/2.0").await.expect("room");
        assert_slow(server.read_exact(&mut [0; PREFACE_LENGTH]).await);
        assert_eq!(begun.elapsed(), PREFACE_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_say_nothing_for_long_behind_its_preface() {
        let (mut client, server) = pair();
        let mut server = Patient::http2(server);
        client
            .write_all(&[b'P'; PREFACE_LENGTH])
            .await
            .expect("room");
        let mut read = [0; PREFACE_LENGTH];
        server.read_exact(&mut read).await.expect("a whole preface");
        let later = tokio::spawn(async move {
            sleep(100 * PREFACE_PATIENCE).await;
            client.write_all(b"later").await
        });
        server.read_exact(&mut read[..5]).await.expect("what came");
        later.await.expect("no panic").expect("room");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_client_that_reads_nothing_ends_its_connection() {
        let (_client, server) = pair();
        let mut server = Patient::http2(server);
        server.write_all(&[0; FULL]).await.expect("room");
        let begun = Instant::now();
        assert_slow(server.write_all(b"more").await);
        assert_eq!(begun.elapsed(), WRITE_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_a_little_at_a_time_is_waited_for() {
        let (mut client, server) = pair();
        let mut server = Patient::http2(server);
        let reading = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(WRITE_PATIENCE / 2).await;
                client.read_exact(&mut [0; FULL]).await.expect("bytes");
            }
            client
        });
        server.write_all(&[0; 10 * FULL]).await.expect("progress");
        reading.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http1_client_may_stop_reading() {
        let (mut client, server) = pair();
        let mut server = Patient::http1(server);
        server.write_all(&[0; FULL]).await.expect("room");
        let reading = tokio::spawn(async move {
            sleep(100 * WRITE_PATIENCE).await;
            client.read_exact(&mut [0; FULL]).await.expect("bytes");
            client
        });
        server.write_all(b"more").await.expect("room at last");
        reading.await.expect("no panic");
    }
}
