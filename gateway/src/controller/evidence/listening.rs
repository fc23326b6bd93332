//! Connections of people. One that says nothing is cut off, and so is one too many.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    answering::{Answering, Peer},
    person::certified,
};

const MOST_CONNECTIONS: usize = 128;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// From one request to the next as well.
const HEAD: Duration = Duration::from_secs(10);
/// For answers to end, once tails have been told to.
const ENDING: Duration = Duration::from_secs(3);

pub(super) async fn serve(
    listener: TcpListener,
    shown: watch::Receiver<Arc<ServerConfig>>,
    answering: Arc<Answering>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    continue;
                };
                let acceptor = TlsAcceptor::from(Arc::clone(&shown.borrow()));
                let serving = connection(stream, address, acceptor, Arc::clone(&answering));
                open.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of a person could not be accepted");
                // Out of file descriptors, mostly.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let ended = timeout(ENDING, async { while open.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::debug!("connections of people are cut off");
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    answering: Arc<Answering>,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a person's TLS handshake failed"),
        Err(_) => return tracing::debug!("a person's TLS handshake took too long"),
    };
    let peer = Arc::new(peer(&stream, address));
    let service = service_fn(|request: Request<Incoming>| {
        let (answering, peer) = (Arc::clone(&answering), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(answering.answer(&peer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a person's connection ended in an error");
    }
}

/// The certificate was verified in the handshake.
fn peer(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Peer {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    Peer {
        address: address.ip().to_canonical(),
        certificate: leaf.and_then(certified),
    }
}
