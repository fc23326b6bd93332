//! The explicit listener: accept, handshake, serve, until the drain.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Gateway, metrics::ConnectionError};
use crate::drain::DrainWatcher;

/// Each connection holds a TLS session and at most one buffered request head.
const MOST_CONNECTIONS: usize = 4096;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

/// Serves `listener` until the drain begins; connections in flight finish their request.
pub async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut draining = std::pin::pin!(drain.draining());
    loop {
        let accepted = tokio::select! {
            () = &mut draining => return,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, client, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to close instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (gateway, drain) = (Arc::clone(&gateway), drain.clone());
        tokio::spawn(async move {
            let open = gateway.metrics().connections.clone();
            open.inc();
            connection(stream, client, acceptor, gateway, drain).await;
            open.dec();
            drop(slot);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, client, slot))
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    acceptor: TlsAcceptor,
    gateway: Arc<Gateway>,
    drain: DrainWatcher,
) {
    let errors = gateway.metrics().connection_errors.clone();
    let served = match handshake(stream, acceptor).await {
        Ok(stream) => requests(stream, client.ip(), gateway, drain)
            .await
            .map_err(|error| ("http", error)),
        Err(error) => Err(("tls", error)),
    };
    if let Err((stage, error)) = served {
        tracing::debug!(%client, stage, %error, "a connection ended in an error");
        errors.get_or_create(&ConnectionError { stage }).inc();
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
        async move { gateway.serve(client, request, &drain).await }
    });
    let mut serving = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(MOST_HEAD_BYTES)
            .max_headers(MOST_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = &mut serving => served,
        () = draining => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    served.map_err(io::Error::other)
}
