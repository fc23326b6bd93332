//! The gateway's control API, for the controller alone: what becomes durable, what runs, the end of one call, and the
//! record of who read evidence.
//!
//! Who asks is known by a client certificate: one of the configured CA, for the controller's name. People never come
//! here; the controller asks for their rights and says on whose behalf it comes. HTTP/1.1 and HTTP/2; errors are
//! `metav1.Status`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/records?follow=true` | each record from now on, once it is durable, a line each |
//! | `GET /v1/streams` | what runs |
//! | `DELETE /v1/streams/{auditID}` | 200 once its end is asked for |
//! | `POST /v1/reads` | the audit id of a read's record, once that is durable |

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use self::{answer::Reply, complaints::Complaints};
use crate::{places::Places, proxy::Gateway, tls::ClientCertificates};

mod answer;
mod asked;
mod complaints;
mod records;
mod routes;

/// The name in the controller's certificate, and that in the gateways'.
pub const CONTROLLER: &str = "controller.sallyport.dev";
pub const GATEWAY: &str = "gateway.sallyport.dev";

/// Pods can reach this listener too, and must not keep the controller out.
const MOST_CONNECTIONS: usize = 64;
const MOST_OF_ADDRESS: usize = 32;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD_BYTES: usize = 64 << 10;
const MOST_STREAMS: u32 = 32;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// For answers under way at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the API speaks for.
pub struct Control {
    pub gateway: Arc<Gateway>,
    pub certificates: Arc<ClientCertificates>,
    /// When the gateway goes down, after its last record.
    pub shutdown: CancellationToken,
}

/// Answers until the shutdown.
pub async fn serve(listener: TcpListener, control: Control) {
    let (control, complaints) = (Arc::new(control), Arc::new(Complaints::default()));
    let places = Arc::new(Places::new(MOST_CONNECTIONS, MOST_OF_ADDRESS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = control.shutdown.cancelled() => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                // One too many is closed, rather than left to wait behind those that say nothing.
                let Some(place) = places.take(client.ip()) else {
                    continue;
                };
                let answer = connection(
                    stream,
                    client,
                    Arc::clone(&control),
                    Arc::clone(&complaints),
                );
                open.spawn(async move {
                    answer.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control API could not be accepted");
                // Out of file descriptors, mostly.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let ended = async { while open.join_next().await.is_some() {} };
    let _cut_off = timeout(FAREWELL, ended).await;
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    control: Arc<Control>,
    complaints: Arc<Complaints>,
) {
    let acceptor = TlsAcceptor::from(control.certificates.server());
    let stream = match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return complaints.refused(client, &error),
        Err(_) => {
            return tracing::debug!(%client, "a TLS handshake with the control API took too long");
        }
    };
    let served = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http2_requests(stream, control).await,
        _ => http1_requests(stream, control).await,
    };
    if let Err(error) = served {
        tracing::debug!(%client, %error, "a connection to the control API ended in an error");
    }
}

async fn http1_requests(stream: TlsStream<TcpStream>, control: Arc<Control>) -> hyper::Result<()> {
    let shutdown = control.shutdown.clone();
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answered(Arc::clone(&control), request)),
        );
    let mut serving = pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

async fn http2_requests(stream: TlsStream<TcpStream>, control: Arc<Control>) -> hyper::Result<()> {
    let shutdown = control.shutdown.clone();
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answered(Arc::clone(&control), request)),
        );
    let mut serving = pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

async fn answered(control: Arc<Control>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let answered = routes::answer(&control, request).await;
    Ok(answered.unwrap_or_else(|refusal| refusal.reply()))
}
