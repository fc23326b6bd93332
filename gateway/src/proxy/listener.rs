//! The explicit listener: accept, handshake, serve, until the drain.

use std::{
    convert::Infallible,
    error::Error,
    fmt::{self, Display},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Body, Gateway,
    fault::Fault,
    linger::Lingering,
    patience::Patient,
    resets::Watched,
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
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// For the first call with a credential that holds. HTTP/1.1 has its limit on heads; without one here, whoever
/// answers pings would keep a connection for ever.
const STRANGER_PATIENCE: Duration = Duration::from_secs(30);
/// For the rest of the answers that such a client asked for.
const FAREWELL: Duration = Duration::from_secs(5);
/// A client that is gone without a word holds its connection no longer than both.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// The client's end of a connection, for everything that happens on it.
pub(super) struct Peer {
    pub(super) client: IpAddr,
    /// When the connection's streams are to end; held by what must be waited for.
    pub(super) drain: DrainWatcher,
    /// A call on it has shown a credential that holds.
    pub(super) is_known: AtomicBool,
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
            Ok((_, client, None)) => gateway.count(
                client,
                Fault::Share,
                &"the address holds its share of connections",
            ),
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
    let handshake = match handshake(stream, acceptor).await {
        Ok(stream) => stream,
        Err(error) => return gateway.count(client, Fault::of_handshake(&error), &error),
    };
    let is_http2 = handshake.get_ref().1.alpn_protocol() == Some(b"h2");
    let draining = drain.draining();
    let (streams, drain) = drain.behind();
    let peer = Arc::new(Peer {
        client: client.ip(),
        drain,
        is_known: AtomicBool::new(false),
        _held: held,
    });
    let io = Lingering::new(handshake);
    let ended = if is_http2 {
        let served = http2_requests(io, client, &gateway, peer, draining, &streams).await;
        served.map_err(|error| (Fault::of_http2(&error), error))
    } else {
        let served = http1_requests(io, &gateway, peer, draining, &streams).await;
        served.map_err(|error| (Fault::of_http1(&error), error))
    };
    if let Err((fault, error)) = ended {
        gateway.count(client, fault, &Whole(&error));
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Serves requests until the client closes or, after those in flight, the drain begins.
async fn http1_requests(
    io: Lingering,
    gateway: &Arc<Gateway>,
    peer: Arc<Peer>,
    draining: impl Future<Output = ()>,
    streams: &CancellationToken,
) -> hyper::Result<()> {
    let io = TokioIo::new(Patient::http1(io));
    let mut serving = pin!(
        http1()
            .serve_connection(io, calls(gateway, peer))
            .with_upgrades()
    );
    tokio::select! {
        served = &mut serving => return served,
        () = draining => serving.as_mut().graceful_shutdown(),
    }
    streams.cancel();
    serving.await
}

/// The same for HTTP/2.
async fn http2_requests(
    io: Lingering,
    client: SocketAddr,
    gateway: &Arc<Gateway>,
    peer: Arc<Peer>,
    draining: impl Future<Output = ()>,
    streams: &CancellationToken,
) -> hyper::Result<()> {
    let stranger = stays_a_stranger(Arc::clone(&peer));
    let reset = |reason| gateway.count(client, Fault::Stream, &reason);
    let io = TokioIo::new(Watched::new(Patient::http2(io), reset));
    let mut serving = pin!(http2().serve_connection(io, calls(gateway, peer)));
    tokio::select! {
        served = &mut serving => return served,
        () = draining => serving.as_mut().graceful_shutdown(),
        () = stranger => {
            gateway.count(client, Fault::Stalled, &"no call with a credential that holds");
            serving.as_mut().graceful_shutdown();
            return tokio::time::timeout(FAREWELL, serving).await.unwrap_or(Ok(()));
        }
    }
    // Polled once before the streams end: the GOAWAY has to be before their ends on the wire. An informer
    // whose watch ends without one lists everything anew, on the connection that is about to close.
    let polled = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
    streams.cancel();
    match polled {
        Poll::Ready(served) => served,
        Poll::Pending => serving.await,
    }
}

/// Takes each request of a connection through the pipeline.
fn calls(
    gateway: &Arc<Gateway>,
    peer: Arc<Peer>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = BoxFuture<'static, Result<Response<Body>, Infallible>>,
> + use<> {
    let gateway = Arc::clone(gateway);
    service_fn(move |request| {
        let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
        let call: BoxFuture<'static, _> =
            Box::pin(async move { gateway.serve(&peer, request).await });
        call
    })
}

/// Resolves for a client that has shown no credential that holds in time.
async fn stays_a_stranger(peer: Arc<Peer>) {
    tokio::time::sleep(STRANGER_PATIENCE).await;
    if peer.is_known.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

impl Gateway {
    /// What ends before there is a request to record is counted, and logged with the client's address.
    fn count(&self, client: SocketAddr, fault: Fault, why: &dyn Display) {
        tracing::debug!(%client, kind = fault.label(), %why, "an agent's connection went wrong");
        self.metrics().connection_error(fault);
    }
}

/// An error with all its sources.
struct Whole<'a>(&'a dyn Error);

impl Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        // What is read at once may be more than the buffer's limit, and is parsed where it is whole.
        .max_header_size(MOST_HEAD_BYTES)
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::drain;

    async fn peer() -> Arc<Peer> {
        let (slots, client) = (Slots::new(4, Gauge::default()), IpAddr::from([10, 0, 0, 1]));
        let held = slots.hold(slots.free().await, client);
        Arc::new(Peer {
            client,
            drain: drain::channel().1,
            is_known: AtomicBool::new(false),
            _held: held.expect("the first connection"),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_no_credential_is_a_stranger_when_patience_ends() {
        let started = tokio::time::Instant::now();
        stays_a_stranger(peer().await).await;
        assert_eq!(started.elapsed(), STRANGER_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_shown_one_is_never_a_stranger() {
        let peer = peer().await;
        let mut stranger = Box::pin(stays_a_stranger(Arc::clone(&peer)));
        assert!(stranger.as_mut().now_or_never().is_none());
        peer.is_known.store(true, Ordering::Relaxed);
        let waited = tokio::time::timeout(100 * STRANGER_PATIENCE, stranger).await;
        assert!(waited.is_err());
    }
}
