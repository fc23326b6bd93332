//! Bytes between two connections, as they are, until one side ends.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::{Instant, sleep_until, timeout},
};

use super::tap::Tap;
use crate::proxy::channels::Direction;

/// One TLS record. Each direction has one.
const BUFFER: usize = 16 << 10;

/// A client that vanishes may have read all there was: then the API server is about to end, too.
const GRACE: Duration = Duration::from_secs(1);

/// How an upgraded connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// One side closed it in order, and the other has all that was on its way.
    InOrder,
    ClientGone,
    UpstreamBroke,
    Idle,
    Stopped,
}

/// What has passed.
pub(super) struct Traffic {
    pub(super) up: Arc<AtomicU64>,
    pub(super) down: Arc<AtomicU64>,
    began: Instant,
    /// Milliseconds from the beginning to the last byte.
    last: AtomicU64,
    /// Hears all of it.
    pub(super) tap: Tap,
}

impl Traffic {
    pub(super) fn tapped(tap: Tap) -> Self {
        Self {
            tap,
            up: Arc::default(),
            down: Arc::default(),
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self, direction: &AtomicU64, bytes: usize) {
        direction.fetch_add(bytes as u64, Relaxed);
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Relaxed);
    }

    /// Resolves when nothing has passed for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let deadline = self.began + Duration::from_millis(self.last.load(Relaxed)) + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// Passes bytes both ways until one side ends, nothing passes for `idle`, or `stop` resolves. What one side closes
/// is closed towards the other; the client's end alone is left to the caller.
pub(super) async fn splice(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    traffic: &Traffic,
    idle: Duration,
    stop: impl Future<Output = ()>,
) -> End {
    tokio::select! {
        end = both_ways(client, upstream, traffic) => end,
        () = traffic.idle(idle) => End::Idle,
        () = stop => End::Stopped,
    }
}

/// Which end of a copy failed.
#[derive(Debug)]
enum Broken {
    Source,
    Sink,
}

async fn both_ways(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    traffic: &Traffic,
) -> End {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let mut up = pin!(async {
        let note = |bytes| traffic.note(&traffic.up, bytes);
        let hear = |bytes: &[u8]| traffic.tap.hear(Direction::Up, bytes);
        copy(&mut from_client, &mut to_upstream, hear, note).await?;
        // What is closed already cannot be closed.
        let _closed = to_upstream.shutdown().await;
        Ok(())
    });
    let note = |bytes| traffic.note(&traffic.down, bytes);
    let hear = |bytes: &[u8]| traffic.tap.hear(Direction::Down, bytes);
    let mut down = pin!(copy(&mut from_upstream, &mut to_client, hear, note));
    tokio::select! {
        ended = &mut down => match ended {
            Ok(()) => End::InOrder,
            Err(Broken::Source) => End::UpstreamBroke,
            // The client may have closed in order before it could read this.
            Err(Broken::Sink) => ended_in_order(up, End::ClientGone).await,
        },
        ended = &mut up => match ended {
            // The rest of the answer still goes to a client that has closed its own direction.
            Ok(()) => match down.await {
                Ok(()) => End::InOrder,
                Err(Broken::Source) => End::UpstreamBroke,
                Err(Broken::Sink) => End::ClientGone,
            },
            Err(Broken::Source) => ended_in_order(down, End::ClientGone).await,
            Err(Broken::Sink) => ended_in_order(down, End::UpstreamBroke).await,
        },
    }
}

/// Whether the other direction ends in order within moments.
async fn ended_in_order(other: impl Future<Output = Result<(), Broken>>, otherwise: End) -> End {
    match timeout(GRACE, other).await {
        Ok(Ok(())) => End::InOrder,
        _ => otherwise,
    }
}

/// A sink that takes nothing stops the source: no more than one buffer is ever on its way.
async fn copy(
    source: &mut (impl AsyncRead + Unpin),
    sink: &mut (impl AsyncWrite + Unpin),
    hear: impl Fn(&[u8]),
    note: impl Fn(usize),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = source.read(&mut buffer).await.map_err(|_| Broken::Source)?;
        if length == 0 {
            return Ok(());
        }
        hear(&buffer[..length]);
        pass(sink, &buffer[..length])
            .await
            .map_err(|_| Broken::Sink)?;
        note(length);
    }
}

async fn pass(sink: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    sink.write_all(bytes).await?;
    sink.flush().await
}

#[cfg(test)]
mod tests;
