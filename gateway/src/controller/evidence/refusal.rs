//! Why a person is shown nothing, as a `metav1.Status` that says what to do next.

use http::StatusCode;

use super::{access::Attributes, gateways::Unknown, person::ReviewError, stops::Unread};
use crate::{
    reply::{self, Reply},
    telemetry::causes,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "there is no {0}: GET /v1/records, /v1/records/AUDIT-ID or /v1/streams, DELETE /v1/streams/AUDIT-ID, \
         POST /v1/stops/NAME/apply"
    )]
    NoSuchPath(String),
    #[error("{0}")]
    Malformed(String),
    #[error(
        "say who you are: with a token that the API server accepts (Authorization: Bearer), or a client certificate of \
         its client CA"
    )]
    NoCredential,
    #[error(
        "the API server does not accept this token; log in anew. Tokens that agents have for a gateway are for other \
         audiences, and open nothing here"
    )]
    NotAuthenticated,
    #[error(
        "impersonation is not taken here: come as who you are, and have the right bound to that user"
    )]
    Impersonation,
    #[error("the API server could not be asked, and nothing is shown unasked; try again")]
    ReviewFailed(#[source] ReviewError),
    #[error("{user} may not {}: {}", .attributes, .attributes.remedy(.user))]
    Forbidden {
        user: String,
        attributes: Attributes,
    },
    #[error("the gateways are not known, and nothing is shown that is not recorded; try again")]
    GatewaysUnknown(#[source] Unknown),
    #[error(
        "there is no gateway, and nothing is shown that is not recorded: see that gateways run (kubectl -n sallyport-system get pods)"
    )]
    NoGateway,
    #[error("no gateway could record this, and nothing is shown or done that is not recorded: {0}")]
    NotRecorded(String),
    #[error(
        "finished records are not read here, since controller.yaml names no evidence.store; read the store itself \
         (--store), or follow what is live (audit tail)"
    )]
    NoStore,
    #[error(
        "no record of {0} in the store{1}; a call of the last minute may still be in its gateway's log"
    )]
    NoSuchCall(String, &'static str),
    #[error("nothing of {0} runs on any gateway that could be asked{1}")]
    NoSuchStream(String, String),
    #[error("there is no AgentStop {0:?}; `sallyport agents list` shows those that are")]
    NoSuchStop(String),
    #[error("the API server does not show the stop, and nothing else is believed; try again")]
    StopUnread(#[source] Unread),
    #[error("you have {0} of these running already; end one of them, or wait")]
    TooMany(usize),
    #[error(
        "{0} of these are running already, which is all that there may be; wait until somebody ends one"
    )]
    TooManyOfAll(usize),
    #[error("others are reading the store, and no place became free in 10 s; try again")]
    Busy,
    #[error(
        "the 60 s of one query were over before {0} was found; read the store itself (--store), which takes as long as \
         it takes"
    )]
    NotFoundInTime(String),
    #[error("you ask more than five times in a second; wait a moment and ask again")]
    TooOften,
    #[error("reading the store broke off; the controller's log says why")]
    StoreFailed(#[source] tokio::task::JoinError),
}

impl Refusal {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath(_)
            | Self::NoStore
            | Self::NoSuchCall(..)
            | Self::NoSuchStream(..)
            | Self::NoSuchStop(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Malformed(_) | Self::Impersonation => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::NoCredential | Self::NotAuthenticated => {
                (StatusCode::UNAUTHORIZED, "Unauthorized")
            }
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::ReviewFailed(_)
            | Self::GatewaysUnknown(_)
            | Self::NoGateway
            | Self::NotRecorded(_)
            | Self::Busy
            | Self::StopUnread(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::TooMany(_) | Self::TooManyOfAll(_) | Self::TooOften => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")
            }
            Self::NotFoundInTime(_) => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::StoreFailed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// The label for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NoSuchPath(_) | Self::Malformed(_) | Self::Impersonation => "malformed",
            Self::NoCredential | Self::NotAuthenticated => "unauthenticated",
            Self::ReviewFailed(_) => "review_failed",
            Self::Forbidden { .. } => "forbidden",
            Self::GatewaysUnknown(_) | Self::NoGateway | Self::NotRecorded(_) => "not_recorded",
            Self::NoStore | Self::NoSuchCall(..) | Self::NoSuchStream(..) | Self::NoSuchStop(_) => {
                "not_found"
            }
            Self::StopUnread(_) => "stop_unread",
            Self::TooMany(_) | Self::TooManyOfAll(_) | Self::TooOften | Self::Busy => "too_many",
            Self::StoreFailed(_) | Self::NotFoundInTime(_) => "store_failed",
        }
    }

    pub(super) fn response(&self) -> Reply {
        let (code, reason) = self.status();
        reply::refusal(code, reason, &causes(self))
    }
}
