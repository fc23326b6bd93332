//! `/metrics`, `/healthz` and `/readyz`, in plain HTTP for the kubelet and Prometheus.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    places::{self, Door, Share},
    readiness::Readiness,
};

/// A connection is for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pods must neither take memory and descriptors from the log and from agents, nor the kubelet's place, whose unanswered
/// probes would end this process.
const DOOR: Door = Door {
    name: "admin",
    new: PLACES,
    settled: PLACES,
    patience: PATIENCE,
    farewell: Duration::ZERO,
};
const PLACES: Share = Share::new(64, 4);

#[derive(Debug)]
pub struct Admin {
    pub registry: Registry,
    pub readiness: Readiness,
}

/// Answers until `shutdown`; readiness is asked for during a drain too.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, shutdown: CancellationToken) {
    let answer = |stream, _, place| {
        let answer = connection(stream, Arc::clone(&admin));
        async move {
            // Whoever asks too slowly is cut off.
            let _cut_off = timeout(PATIENCE, answer).await;
            drop(place);
        }
    };
    places::accept(listener, DOOR, shutdown, answer).await;
}

async fn connection(stream: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = admin.answer(request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended in an error");
    }
}

impl Admin {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.ready(),
            _ => text(
                StatusCode::NOT_FOUND,
                "try /metrics, /healthz or /readyz\n".to_owned(),
            ),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        if prometheus_client::encoding::text::encode(&mut body, &self.registry).is_err() {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written\n".to_owned(),
            );
        }
        let mut response = text(StatusCode::OK, body);
        let openmetrics =
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, openmetrics);
        response
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let pending = self.readiness.pending();
        if pending.is_empty() {
            return text(StatusCode::OK, "ok\n".to_owned());
        }
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for: {}\n", pending.join(", ")),
        )
    }
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let admin = Admin {
            registry: Registry::default(),
            readiness: Readiness::default(),
        };
        let policy = admin.readiness.register("policy");
        assert_eq!(
            admin.answer("/readyz").status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop(policy);
        assert_eq!(admin.answer("/readyz").status(), StatusCode::OK);
        assert_eq!(admin.answer("/other").status(), StatusCode::NOT_FOUND);
    }
}
