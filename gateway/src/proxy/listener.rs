//! The explicit listener: accept, handshake, serve, until the drain.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Gateway,
    slots::{Held, Slots},
};
use crate::drain::DrainWatcher;

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for an answer to arrive, too short for a client to hold slots with.
const LINGER: Duration = Duration::from_secs(1);
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

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
                let serving = connection(
                    stream,
                    client,
                    acceptor,
                    Arc::clone(&gateway),
                    drain.clone(),
                );
                tokio::spawn(async move {
                    serving.await;
                    drop(held);
                });
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
    acceptor: TlsAcceptor,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let served = match handshake(stream, acceptor).await {
        Ok(stream) => requests(stream, client.ip(), Arc::clone(&gateway), drain)
            .await
            .map_err(|error| ("http", error)),
        Err(error) => Err(("tls", error)),
    };
    if let Err((stage, error)) = served {
        tracing::debug!(%client, stage, %error, "a connection ended in an error");
        gateway.metrics().connection_error(stage);
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Serves requests until the client closes or, after the current one, the drain begins.
async fn requests(
    stream: TlsStream<TcpStream>,
    client: IpAddr,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) -> io::Result<()> {
    let draining = drain.draining();
    let service = service_fn(move |request| {
        let (gateway, drain) = (Arc::clone(&gateway), drain.clone());
        Box::pin(async move { gateway.serve(client, request, &drain).await })
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::select! {
        served = poll_fn(|cx| serving.poll_without_shutdown(cx)) => served,
        () = draining => {
            Pin::new(&mut serving).graceful_shutdown();
            poll_fn(|cx| serving.poll_without_shutdown(cx)).await
        }
    };
    served.map_err(io::Error::other)?;
    close(serving.into_parts().io.into_inner()).await;
    Ok(())
}

/// Closes without losing the last answer. Where a request was refused before its end, its rest still
/// comes, and the kernel answers that with a reset, which can overtake the answer: with a body of 6 MiB,
/// kubectl read `broken pipe` instead of the 413 in one of three runs. A client that is gone cannot be
/// closed, which is no error.
async fn close(mut stream: TlsStream<TcpStream>) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let ((mut rest, _), mut nowhere) = (stream.into_inner(), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, read).await {
        tracing::debug!(%error, "a client reset its connection after the last answer");
    }
}
