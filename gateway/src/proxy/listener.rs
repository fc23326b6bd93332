//! The explicit listener: accept, handshake, serve, until the drain.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Gateway,
    linger::Lingering,
    slots::{Held, Slots},
};
use crate::drain::DrainWatcher;

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

/// Of one HTTP/2 connection: as many as Go's server allows, and kube-apiserver's clients expect.
const MOST_STREAMS: u32 = 250;
/// Of an answer, between us and the client's window: what a stalled reader costs.
const SEND_BUFFER: usize = 64 << 10;
/// Request bodies are at most 3 MiB, and read at once.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A client that is gone without a word holds its connection no longer than both.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// The client's end of a connection, for everything that happens on it.
pub(super) struct Peer {
    pub(super) client: IpAddr,
    /// When the connection's streams are to end; held by what must be waited for.
    pub(super) drain: DrainWatcher,
    /// An upgraded connection keeps its place too.
    _held: Held,
}

/// Serves `listener` until the drain begins; connections in flight finish their request. At most
/// `connections` are open at a time: each holds a TLS session and at most one buffered request head.
pub async fn serve(
    listener: TcpListener,
    connections: usize,
    tls: watch::Receiver<Arc<ServerConfig>>,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let slots = Slots::new(connections, gateway.metrics().connections.clone());
    let mut draining = std::pin::pin!(drain.draining());
    loop {
        let accepted = tokio::select! {
            () = &mut draining => return,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, client, Some(held))) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
                tokio::spawn(connection(
                    stream,
                    client,
                    held,
                    acceptor,
                    Arc::clone(&gateway),
                    drain.clone(),
                ));
            }
            Ok((_, client, None)) => {
                tracing::debug!(%client, "closed at once: the address holds its share of connections");
                gateway.metrics().connection_error("share");
            }
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to close instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Slots,
) -> io::Result<(TcpStream, SocketAddr, Option<Held>)> {
    let slot = slots.free().await;
    let (stream, client) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, client, slots.hold(slot, client.ip())))
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    held: Held,
    acceptor: TlsAcceptor,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let served = match handshake(stream, acceptor).await {
        Ok(stream) => requests(stream, client.ip(), held, Arc::clone(&gateway), drain)
            .await
            .map_err(|error| ("http", io::Error::other(error))),
        Err(error) => Err(("tls", error)),
    };
    if let Err((stage, error)) = served {
        tracing::debug!(%client, stage, error = &error as &dyn std::error::Error, "a connection ended in an error");
        gateway.metrics().connection_error(stage);
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Serves requests until the client closes or, after those in flight, the drain begins.
async fn requests(
    stream: TlsStream<TcpStream>,
    client: IpAddr,
    held: Held,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) -> hyper::Result<()> {
    let draining = drain.draining();
    let (streams, drain) = drain.behind();
    let peer = Arc::new(Peer {
        client,
        drain,
        _held: held,
    });
    let service = service_fn(move |request| {
        let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
        Box::pin(async move { gateway.serve(&peer, request).await })
    });
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(Lingering::new(stream));
    if is_http2 {
        let mut serving = pin!(http2().serve_connection(io, service));
        tokio::select! {
            served = &mut serving => return served,
            () = draining => serving.as_mut().graceful_shutdown(),
        }
        // Polled once before the streams end: the GOAWAY has to be before their ends on the wire. An informer
        // whose watch ends without one lists everything anew, on the connection that is about to close.
        let polled = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
        streams.cancel();
        match polled {
            Poll::Ready(served) => served,
            Poll::Pending => serving.await,
        }
    } else {
        let mut serving = pin!(http1().serve_connection(io, service).with_upgrades());
        tokio::select! {
            served = &mut serving => return served,
            () = draining => serving.as_mut().graceful_shutdown(),
        }
        streams.cancel();
        serving.await
    }
}

fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        .max_headers(MOST_HEADERS);
    http
}

/// CONNECT with a protocol (RFC 8441) is not offered, so `h2` refuses it.
fn http2() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES as u32)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    http
}
