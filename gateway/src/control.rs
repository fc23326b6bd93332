//! The gateway's control API, for the controller alone: what becomes durable, what runs, the end of one call, and the
//! record of who read evidence.
//!
//! Who asks is known by a client certificate: one of the configured CA, for the controller's name. People never come
//! here; the controller asks for their rights and says on whose behalf it comes. HTTP/1.1; errors are
//! `metav1.Status`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/records?follow=true` | each record from now on, once it is durable, a line each |
//! | `GET /v1/streams` | what runs |
//! | `DELETE /v1/streams/{auditID}` | 200 once its end is asked for |
//! | `POST /v1/stops` | whether that AgentStop is in force here now: heard of, or by this until it is |
//! | `POST /v1/reads` | the audit id of a read's record, once that is durable |

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::complaints::Complaints;
pub use self::stops::StopPush;
use crate::{
    places::{self, Door, NoHandshake, Place, Share},
    proxy::Gateway,
    reply::Reply,
    tls::ClientCertificates,
};

mod asked;
mod complaints;
mod records;
mod refusal;
mod routes;
mod stops;

/// Pods must not keep the controller out.
const DOOR: Door = Door {
    name: "control",
    new: Share::new(128, 32),
    settled: Share::new(64, 32),
    patience: Duration::from_secs(5),
    farewell: Duration::from_secs(1),
};
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD_BYTES: usize = 64 << 10;

/// What the API speaks for.
pub struct Control {
    pub gateway: Arc<Gateway>,
    /// Takes stops, where the objects of the cluster count.
    pub stops: Option<mpsc::Sender<StopPush>>,
    pub certificates: Arc<ClientCertificates>,
    /// When the gateway goes down, after its last record.
    pub shutdown: CancellationToken,
}

/// Answers until the shutdown.
pub async fn serve(listener: TcpListener, control: Control) {
    let (control, complaints) = (Arc::new(control), Arc::new(Complaints::default()));
    let shutdown = control.shutdown.clone();
    let answer = |stream, client, place| {
        let (control, complaints) = (Arc::clone(&control), Arc::clone(&complaints));
        connection(stream, client, place, control, complaints)
    };
    places::accept(listener, DOOR, shutdown, answer).await;
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    mut place: Place,
    control: Arc<Control>,
    complaints: Arc<Complaints>,
) {
    let stream = match place.handshake(stream, control.certificates.server()).await {
        Ok(stream) => stream,
        Err(NoHandshake::Failed(error)) => return complaints.refused(client, &error),
        Err(error) => {
            return tracing::debug!(%client, %error, "a connection to the control API was refused");
        }
    };
    if let Err(error) = requests(stream, control).await {
        tracing::debug!(%client, %error, "a connection to the control API ended in an error");
    }
}

async fn requests(stream: TlsStream<TcpStream>, control: Arc<Control>) -> hyper::Result<()> {
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

async fn answered(control: Arc<Control>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let answered = routes::answer(&control, request).await;
    Ok(answered.unwrap_or_else(|refusal| refusal.reply()))
}
