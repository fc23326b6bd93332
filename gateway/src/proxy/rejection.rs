//! Every way the gateway says no: the code and `metav1.Status` that the agent reads, the label that
//! metrics carry, the reason that the record keeps.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use super::{budget::NoRoom, principals::OverQuota, upstream::SendError};
use crate::{authn::Unauthenticated, identity::UserInfo, request_info::Ambiguous};

/// Why a request was not served. Messages are for the person at the other end: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("{0}")]
    Ambiguous(#[from] Ambiguous),
    #[error("{}", .0.public_message())]
    Unauthenticated(#[from] Unauthenticated),
    #[error("{0}")]
    Denied(String),
    /// People must decide, and have not, or not in favour.
    #[error("{0}")]
    Unapproved(#[source] super::settling::refusal::Unapproved),
    #[error(
        "impersonation through the gateway is not allowed: remove the {header} header (kubectl: --as, --as-group, --as-uid)"
    )]
    Impersonation { header: String },
    #[error(
        "HTTP/1.0 is not served, because an answer that breaks off could not be told from a whole one: \
         use HTTP/1.1 or HTTP/2"
    )]
    HttpVersion,
    #[error(
        "the request body is larger than {limit} bytes, the API server's own limit; send less at a time"
    )]
    BodyTooLarge { limit: usize },
    #[error("the request body did not arrive within {seconds} s")]
    BodyTooSlow { seconds: u64 },
    #[error("the connection broke while the request body was read")]
    BodyBroken(#[source] hyper::Error),
    #[error(
        "request bodies with Content-Encoding {encoding:?} are not accepted: send them unencoded"
    )]
    BodyEncoded { encoding: String },
    #[error(
        "objects in CBOR are not accepted, because they can be neither judged nor recorded: send JSON, YAML or protobuf"
    )]
    BodyInCbor,
    #[error("the gateway has no room to buffer this request now; try again")]
    Busy,
    #[error(
        "the bodies of this user's calls in flight take all the room it may have (limits.perPrincipal.bufferedBytes): \
         wait for some to end, then try again"
    )]
    ShareInUse,
    #[error(
        "the bodies of all users of this namespace or repository take all the room they may have, half of \
         limits.bufferedBytes: wait for some to end, then try again"
    )]
    TenantsInUse,
    #[error("{0}")]
    OverQuota(#[from] OverQuota),
    #[error(
        "upgraded connections are not allowed for {what}: use plain HTTP, or have the operator add {what} to \
         upgrades.allow in the gateway's configuration"
    )]
    UpgradeNotAllowed { what: &'static str },
    #[error("{0}")]
    UpgradeUnusable(#[from] super::upgrade::Unusable),
    #[error(
        "the call was refused because it could not be recorded ({0}); nothing was sent to the API server"
    )]
    NotRecorded(#[source] crate::audit::wal::NotRecorded),
    /// The API server refuses the change already in a dry run, or a call whose client has an answer. What it says is the
    /// caller's.
    #[error("the API server refuses it: {message}")]
    RefusedByApiServer {
        code: StatusCode,
        message: String,
        body: Bytes,
    },
    #[error("the API server could not be reached; nothing was sent to it")]
    Unreachable(#[source] super::upstream::ConnectError),
    #[error(
        "the API server's answer was lost: the call may have been carried out. Look at the object before repeating it"
    )]
    OutcomeUnknown(#[source] super::upstream::Lost),
    #[error(
        "the API server carried out the call, but its answer could not be recorded and is withheld. \
         Look at the object before repeating the call"
    )]
    AnswerNotRecorded(#[source] crate::audit::wal::NotRecorded),
    #[error(
        "the answer is withheld, because policy lets this caller see secrets only masked (agentView: Masked) and {0}. \
         Where the call was a write, look at the object before repeating it"
    )]
    AnswerNotMasked(#[from] super::view::Unshowable),
    #[error(
        "the gateway built a request that breaks its own rules ({0}) and did not send it; please report this"
    )]
    Unsafe(#[from] super::headers::Violation),
}

impl From<NoRoom> for Rejection {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::InShare => Self::ShareInUse,
            NoRoom::OfTenant => Self::TenantsInUse,
            NoRoom::AtAll => Self::Busy,
        }
    }
}

impl From<SendError> for Rejection {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotSent(error) => Self::Unreachable(error),
            SendError::Unsafe(violation) => Self::Unsafe(violation),
            SendError::Lost(error) => Self::OutcomeUnknown(error),
        }
    }
}

/// Code, `metav1.Status.reason`, metric label.
type Row = (StatusCode, &'static str, &'static str);

impl Rejection {
    fn row(&self) -> Row {
        match self {
            Self::Ambiguous(_) => (StatusCode::BAD_REQUEST, "BadRequest", "ambiguous"),
            Self::Unauthenticated(cause) if cause.is_authority_unavailable() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "authority_unavailable",
            ),
            Self::Unauthenticated(_) => {
                (StatusCode::UNAUTHORIZED, "Unauthorized", "unauthenticated")
            }
            Self::Denied(_) => (StatusCode::FORBIDDEN, "Forbidden", "denied"),
            Self::Unapproved(unapproved) => (StatusCode::FORBIDDEN, "Forbidden", unapproved.label),
            Self::Impersonation { .. } => (StatusCode::FORBIDDEN, "Forbidden", "impersonation"),
            Self::HttpVersion => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "BadRequest",
                "http_version",
            ),
            Self::BodyTooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                "body_too_large",
            ),
            Self::BodyTooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "Timeout", "body_too_slow"),
            Self::BodyBroken(_) => (StatusCode::BAD_REQUEST, "BadRequest", "body_broken"),
            Self::BodyEncoded { .. } => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "body_encoded",
            ),
            Self::BodyInCbor => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "body_in_cbor",
            ),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "busy"),
            Self::ShareInUse | Self::TenantsInUse => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "quota_bytes",
            ),
            Self::OverQuota(OverQuota::Calls { .. }) => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "quota_calls",
            ),
            Self::OverQuota(OverQuota::Record { .. }) => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "quota_record",
            ),
            Self::UpgradeNotAllowed { .. } => {
                (StatusCode::FORBIDDEN, "Forbidden", "upgrade_not_allowed")
            }
            Self::UpgradeUnusable(_) => (StatusCode::BAD_REQUEST, "BadRequest", "upgrade_unusable"),
            Self::RefusedByApiServer { code, .. } => (*code, "Refused", "refused_by_api_server"),
            Self::NotRecorded(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "not_recorded",
            ),
            Self::Unreachable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "unreachable",
            ),
            Self::OutcomeUnknown(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "outcome_unknown",
            ),
            Self::AnswerNotRecorded(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "answer_not_recorded",
            ),
            Self::AnswerNotMasked(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "answer_not_masked",
            ),
            Self::Unsafe(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "unsafe"),
        }
    }

    /// Whose token it is that came from somebody else.
    pub(super) fn user(&self) -> Option<&UserInfo> {
        match self {
            Self::Unauthenticated(cause) => cause.user(),
            _ => None,
        }
    }

    pub(super) fn code(&self) -> StatusCode {
        self.row().0
    }

    pub(super) fn reason(&self) -> &'static str {
        self.row().1
    }

    /// The metric label and the name in the access line.
    pub(super) fn label(&self) -> &'static str {
        self.row().2
    }

    /// In seconds, where nothing was forwarded and a repetition is wanted. client-go repeats ten times.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy
            | Self::ShareInUse
            | Self::TenantsInUse
            | Self::OverQuota(OverQuota::Calls { .. }) => Some(1),
            Self::OverQuota(OverQuota::Record { seconds, .. }) => Some(*seconds),
            _ => None,
        }
    }

    /// What the agent reads. Control characters are removed: kubectl prints the message on a terminal. Only what people
    /// must do has lines, and those are ours.
    pub(super) fn message(&self) -> String {
        let has_lines = matches!(self, Self::Unapproved(_));
        let is_plain = |c: &char| !c.is_control() || has_lines && *c == '\n';
        format!("sallyport: {self}")
            .chars()
            .map(|c| if is_plain(&c) { c } else { ' ' })
            .collect()
    }

    pub(super) fn status(&self) -> Status<'static> {
        Status {
            kind: "Status",
            api_version: "v1",
            metadata: serde_json::Map::new(),
            status: "Failure",
            message: self.message(),
            reason: self.reason(),
            code: self.code().as_u16(),
        }
    }

    /// A `Status` in JSON.
    pub(super) fn body(&self) -> Bytes {
        match self {
            Self::RefusedByApiServer { body, .. } => body.clone(),
            _ => serde_json::to_vec(&self.status())
                .expect("strings and numbers serialize")
                .into(),
        }
    }

    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body()));
        *response.status_mut() = self.code();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, private"),
        );
        if matches!(self, Self::Unauthenticated(_)) {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"sallyport\""),
            );
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // The rest of a body that was not read cannot be told from a next request.
        if matches!(
            self,
            Self::BodyTooLarge { .. }
                | Self::BodyTooSlow { .. }
                | Self::BodyBroken(_)
                | Self::BodyEncoded { .. }
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// `metav1.Status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status<'a> {
    kind: &'a str,
    api_version: &'a str,
    metadata: serde_json::Map<String, serde_json::Value>,
    status: &'a str,
    message: String,
    reason: &'a str,
    code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_a_status_that_says_what_to_do() {
        let rejection = Rejection::Impersonation {
            header: "impersonate-user".into(),
        };
        let status = serde_json::to_value(rejection.status()).expect("it serializes");
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["code"], 403);
        assert_eq!(status["reason"], "Forbidden");
        assert!(
            status["message"]
                .as_str()
                .expect("a string")
                .contains("remove the impersonate-user header")
        );
    }

    #[test]
    fn an_outcome_that_is_unknown_never_invites_a_repetition() {
        let rejection = Rejection::AnswerNotRecorded(crate::audit::wal::NotRecorded::Closed);
        assert_eq!(rejection.code(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            rejection
                .response()
                .headers()
                .get(header::RETRY_AFTER)
                .is_none()
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let rejection = Rejection::BodyEncoded {
            encoding: "\u{1b}[31mgzip\n".into(),
        };
        assert!(!rejection.message().chars().any(char::is_control));
    }
}
