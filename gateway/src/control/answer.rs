//! Answers, and every way to refuse one.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Serialize;

use crate::audit::{log::TooManyReaders, wal::NotRecorded};

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "there is no {0:?} here: GET /v1/records?follow=true, GET /v1/streams, DELETE /v1/streams/{{auditID}} or \
         POST /v1/reads"
    )]
    NoSuchPath(String),
    #[error("{method} means nothing at {path:?}; use {instead}")]
    Method {
        method: http::Method,
        path: String,
        instead: &'static str,
    },
    #[error("the query cannot be read: {0}")]
    Query(String),
    #[error("the parameter {name:?} is unknown here; {known}")]
    UnknownParameter { name: String, known: String },
    #[error("the parameter {0:?} is there twice; give it once")]
    RepeatedParameter(String),
    #[error("{name}={value:?} means nothing; write one of {allowed}")]
    Value {
        name: &'static str,
        value: String,
        allowed: String,
    },
    #[error("only what comes from now on can be read here: add follow=true")]
    NotFollowed,
    #[error("the body did not come whole, within 10 s and 64 KiB")]
    Body,
    #[error("the body is not what is asked for here: {0}")]
    Malformed(String),
    #[error("no call with auditID {0:?} runs on this gateway; it may have ended")]
    NotRunning(String),
    #[error("{0}")]
    TooManyReaders(#[from] TooManyReaders),
    #[error("the read could not be recorded ({0}), so nothing may be shown; ask another gateway")]
    NotRecorded(#[from] NotRecorded),
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath(_) | Self::NotRunning(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::Query(_)
            | Self::UnknownParameter { .. }
            | Self::RepeatedParameter(_)
            | Self::Value { .. }
            | Self::NotFollowed
            | Self::Body
            | Self::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::TooManyReaders(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let (code, reason) = self.code();
        let status = Status {
            code: Some(i32::from(code.as_u16())),
            message: Some(self.to_string().replace(char::is_control, " ")),
            reason: Some(reason.to_owned()),
            status: Some("Failure".to_owned()),
            ..Status::default()
        };
        tracing::debug!(
            message = status.message,
            "a request to the control API was refused"
        );
        json(code, &status)
    }
}

pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(body).expect("strings, numbers and lists serialize");
    with_type(code, "application/json", Full::from(bytes).boxed_unsync())
}

pub(super) fn with_type(
    code: StatusCode,
    content_type: &'static str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_status_that_says_what_to_do() {
        let reply = Refusal::NotFollowed.reply();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
        let body = reply.into_body().collect().await;
        let Ok(body) = body;
        let status: serde_json::Value =
            serde_json::from_slice(&body.to_bytes()).expect("it is JSON");
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &400.into())
        );
        let message = status["message"].as_str().expect("a message");
        assert!(message.contains("add follow=true"), "{message}");
    }
}
