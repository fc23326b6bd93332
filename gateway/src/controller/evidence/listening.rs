//! Connections of people. One that says nothing is cut off, and so is one too many.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    answering::{Answering, Peer},
    person::certified,
};
use crate::{
    places::{self, Door, Place, Share},
    telemetry::Causes,
};

const DOOR: Door = Door {
    name: "evidence",
    new: Share::new(128, 32),
    settled: Share::new(128, 64),
    patience: Duration::from_secs(5),
    // For answers to end, once tails have been told to.
    farewell: Duration::from_secs(3),
};
/// From one request to the next as well.
const HEAD: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    listener: TcpListener,
    shown: watch::Receiver<Arc<ServerConfig>>,
    answering: Arc<Answering>,
    shutdown: CancellationToken,
) {
    let answer = |stream, address, place| {
        let tls = Arc::clone(&shown.borrow());
        connection(stream, address, place, tls, Arc::clone(&answering))
    };
    places::accept(listener, DOOR, shutdown, answer).await;
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    mut place: Place,
    tls: Arc<ServerConfig>,
    answering: Arc<Answering>,
) {
    let stream = match place.handshake(stream, tls).await {
        Ok(stream) => stream,
        Err(error) => {
            let error = Causes(&error);
            return tracing::debug!(%error, "a person's connection was refused");
        }
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
