//! Where a chat's buttons end: signed callbacks over HTTPS, each of them a person's vote.
//!
//! A callback is accepted at once, and what becomes of its vote is said afterwards where the callback asked for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(super) use self::{
    ballot::Ballot, callback::Callbacks, endpoints::Endpoints, outcome::Outcomes, voting::Voting,
};
use crate::{
    places::{self, Door, Place, Share},
    telemetry::Causes,
};

mod ballot;
mod callback;
mod endpoints;
mod outcome;
mod replay;
mod rules;
mod slack;
mod voting;

/// Votes that came in and are not written yet; a callback beyond them is told to come again.
pub(super) const MOST_BALLOTS: usize = 64;
/// A connection is for one callback. Slack waits for three seconds.
const PATIENCE: Duration = Duration::from_secs(5);
const DOOR: Door = Door {
    name: "decisions",
    new: Share::new(64, 32),
    settled: Share::new(64, 32),
    patience: PATIENCE,
    farewell: PATIENCE,
};

/// Answers until `shutdown`, and then those that have come in.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    callbacks: Arc<Callbacks>,
    shutdown: CancellationToken,
) {
    let answer = |stream, _, place| {
        let answer = connection(stream, place, Arc::clone(&tls), Arc::clone(&callbacks));
        async move {
            // Whoever asks too slowly is cut off.
            let _cut_off = timeout(PATIENCE, answer).await;
        }
    };
    places::accept(listener, DOOR, shutdown, answer).await;
}

async fn connection(
    stream: TcpStream,
    mut place: Place,
    tls: Arc<ServerConfig>,
    callbacks: Arc<Callbacks>,
) {
    let stream = match place.handshake(stream, tls).await {
        Ok(stream) => stream,
        Err(error) => {
            let error = Causes(&error);
            return tracing::debug!(%error, "a callback's connection was refused");
        }
    };
    let service = service_fn(|request: Request<Incoming>| {
        let callbacks = Arc::clone(&callbacks);
        async move { Ok::<_, Infallible>(callbacks.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a callback's connection ended in an error");
    }
}

/// One per process.
pub(super) fn ballots() -> (mpsc::Sender<Ballot>, mpsc::Receiver<Ballot>) {
    mpsc::channel(MOST_BALLOTS)
}

fn said(code: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = code;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}
