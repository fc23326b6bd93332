//! Every way to refuse.

use http::StatusCode;

use crate::{
    audit::{log::TooManyReaders, wal::NotRecorded},
    reply::{self, Reply},
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "there is no {0:?} here: GET /v1/records?follow=true, GET /v1/streams, DELETE /v1/streams/{{auditID}}, \
         POST /v1/stops or POST /v1/reads"
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
    #[error("the body did not come whole within 10 s")]
    Body,
    #[error("the body is larger than {0} bytes; send what is asked for here alone")]
    BodyTooLarge(usize),
    #[error("the body is not what is asked for here: {0}")]
    Malformed(String),
    #[error("no call with auditID {0:?} runs on this gateway; it may have ended")]
    NotRunning(String),
    #[error(
        "this gateway follows no objects of the cluster, so no AgentStop counts for it: set `objects` in its \
         configuration"
    )]
    NoObjects,
    #[error("this gateway is going down")]
    GoingDown,
    #[error("{0}")]
    TooManyReaders(#[from] TooManyReaders),
    #[error("the read could not be recorded ({0}), so nothing may be shown; ask another gateway")]
    NotRecorded(#[from] NotRecorded),
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath(_) | Self::NotRunning(_) | Self::NoObjects => {
                (StatusCode::NOT_FOUND, "NotFound")
            }
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::Query(_)
            | Self::UnknownParameter { .. }
            | Self::RepeatedParameter(_)
            | Self::Value { .. }
            | Self::NotFollowed
            | Self::Body
            | Self::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::TooManyReaders(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::NotRecorded(_) | Self::GoingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let (code, reason) = self.code();
        let message = self.to_string();
        tracing::debug!(message, "a request to the control API was refused");
        reply::refusal(code, reason, &message)
    }
}
