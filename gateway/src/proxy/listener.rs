//! The explicit listener, and what any connection goes through: handshake, requests, until the drain.

use std::{
    convert::Infallible,
    fmt::Display,
    future::poll_fn,
    io,
    net::SocketAddr,
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
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::SetOnce,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Body, Gateway,
    fault::Fault,
    linger::Lingering,
    origin::Origin,
    patience::Patient,
    resets::Watched,
    slots::{Held, Holder, Slots},
};
use crate::telemetry::Causes;
use crate::{drain::DrainWatcher, tls};

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
/// For the first call on a connection that was accepted before the drain. Its client has been let in, and most clients
/// take the end of a connection on which they have said nothing for a failure.
const FIRST_CALL: Duration = Duration::from_secs(5);
/// For the rest of the answers that such a client asked for.
const FAREWELL: Duration = Duration::from_secs(5);
/// A client that is gone without a word holds its connection no longer than both.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// The client's end of a connection, for everything that happens on it.
pub(super) struct Peer {
    pub(super) origin: Origin,
    /// When the connection's streams are to end; held by what must be waited for.
    pub(super) drain: DrainWatcher,
    /// When the gateway begins to go down.
    pub(super) going_down: DrainWatcher,
    /// A call on it has shown a credential that holds.
    pub(super) is_known: AtomicBool,
    /// A call has come.
    pub(super) called: SetOnce<()>,
    /// An upgraded connection keeps its place too.
    _held: Held,
}

/// Serves `listener` until the drain begins; connections in flight finish their request.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let mut draining = std::pin::pin!(drain.draining());
    loop {
        let accepted = tokio::select! {
            () = &mut draining => return,
            accepted = accept(&listener, &gateway.slots) => accepted,
        };
        match accepted {
            Ok((stream, client, Some(held))) => {
                tokio::spawn(serve_connection(
                    stream,
                    Origin::Explicit(client),
                    held,
                    Arc::clone(&tls),
                    Arc::clone(&gateway),
                    drain.clone(),
                ));
            }
            Ok((_, client, None)) => gateway.count(
                &Origin::Explicit(client),
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
    Ok((
        stream,
        client,
        slots.hold(slot, &Holder::network(client.ip())),
    ))
}

/// Serves one connection to its end, which is also that of its pod.
pub(super) async fn serve_connection(
    stream: TcpStream,
    origin: Origin,
    held: Held,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let gone = origin.gone();
    tokio::select! {
        () = gone => {}
        () = connection(stream, origin, held, tls, gateway, drain) => {}
    }
}

async fn connection(
    stream: TcpStream,
    origin: Origin,
    held: Held,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let mut handshake = match handshake(stream, tls).await {
        Ok(stream) => stream,
        Err(error) => return gateway.no_handshake(&origin, &error).await,
    };
    let protocol = handshake.get_ref().1.alpn_protocol();
    let is_http2 = protocol == Some(b"h2");
    if protocol == Some(tls::START_GATE) {
        // It came for the handshake alone.
        let _told = handshake.shutdown().await;
        return;
    }
    let draining = drain.draining();
    let (streams, behind) = drain.behind();
    let peer = Arc::new(Peer {
        origin: origin.clone(),
        drain: behind,
        going_down: drain,
        is_known: AtomicBool::new(false),
        called: SetOnce::new(),
        _held: held,
    });
    let draining = after_first_call(draining, Arc::clone(&peer));
    let io = Lingering::new(handshake);
    let ended = if is_http2 {
        let served = http2_requests(io, &origin, &gateway, peer, draining, &streams).await;
        served.map_err(|error| (Fault::of_http2(&error), error))
    } else {
        let served = http1_requests(io, &gateway, peer, draining, &streams).await;
        served.map_err(|error| (Fault::of_http1(&error), error))
    };
    if let Err((fault, error)) = ended {
        gateway.count(&origin, fault, &Causes(&error));
    }
}

/// Resolves when the drain may end a connection: once its client has called, or does not in time.
async fn after_first_call(draining: impl Future<Output = ()>, peer: Arc<Peer>) {
    draining.await;
    let _called = tokio::time::timeout(FIRST_CALL, peer.called.wait()).await;
}

async fn handshake(stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(tls);
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
    origin: &Origin,
    gateway: &Arc<Gateway>,
    peer: Arc<Peer>,
    draining: impl Future<Output = ()>,
    streams: &CancellationToken,
) -> hyper::Result<()> {
    let stranger = stays_a_stranger(Arc::clone(&peer));
    let reset = |reason| gateway.count(origin, Fault::Stream, &reason);
    let io = TokioIo::new(Watched::new(Patient::http2(io), reset));
    let mut serving = pin!(http2().serve_connection(io, calls(gateway, peer)));
    tokio::select! {
        served = &mut serving => return served,
        () = draining => serving.as_mut().graceful_shutdown(),
        () = stranger => {
            gateway.count(origin, Fault::Stalled, &"no call with a credential that holds");
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
    /// A captured pod whose client does not trust us is recorded too: its agent cannot work, and somebody must know.
    async fn no_handshake(&self, origin: &Origin, error: &io::Error) {
        let fault = Fault::of_handshake(error);
        self.count(origin, fault, error);
        let (Origin::Captured(captive), Fault::Certificate) = (origin, fault) else {
            return;
        };
        if self.folding.count_handshake(&self.recorder, captive).await {
            let pod = captive.pod.known();
            tracing::warn!(
                namespace = pod.workload.namespace,
                pod = pod.workload.pod,
                needs_recreate = pod.needs_recreate,
                %error,
                "a pod's client trusts another CA than the gateway's: recreate the pod if it is older than its \
                 namespace's label, else have its client trust the CA that is mounted beside its token"
            );
        }
    }

    /// What ends before there is a request to record is counted, and logged with where it came from.
    pub(super) fn count(&self, client: &Origin, fault: Fault, why: &dyn Display) {
        tracing::debug!(%client, kind = fault.label(), %why, "an agent's connection went wrong");
        self.metrics().connection_error(fault);
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
        let slots = Slots::new(4, Gauge::default());
        let origin = Origin::Explicit(SocketAddr::from(([10, 0, 0, 1], 1)));
        let held = slots.hold(slots.free().await, &origin.holder());
        Arc::new(Peer {
            origin,
            drain: drain::channel().1,
            going_down: drain::channel().1,
            is_known: AtomicBool::new(false),
            called: SetOnce::new(),
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
    async fn a_drain_waits_for_the_first_call_but_not_for_ever() {
        let started = tokio::time::Instant::now();
        after_first_call(std::future::ready(()), peer().await).await;
        assert_eq!(started.elapsed(), FIRST_CALL);

        let peer = peer().await;
        let mut waiting = Box::pin(after_first_call(std::future::ready(()), Arc::clone(&peer)));
        assert!(waiting.as_mut().now_or_never().is_none());
        peer.called.set(()).expect("the first call");
        assert!(waiting.as_mut().now_or_never().is_some());
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
