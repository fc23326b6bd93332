//! Answers of the APIs that people and controllers call: JSON that nobody keeps, and refusals as `metav1.Status`.

use std::convert::Infallible;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Serialize;

pub const JSON: &str = "application/json";

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Reply = Response<Body>;

/// What was asked may stand in the message, which is shown on terminals.
pub fn refusal(code: StatusCode, reason: &str, message: &str) -> Reply {
    let status = Status {
        code: Some(i32::from(code.as_u16())),
        message: Some(message.replace(char::is_control, " ")),
        reason: Some(reason.to_owned()),
        status: Some("Failure".to_owned()),
        ..Status::default()
    };
    json(code, &status)
}

pub fn json(code: StatusCode, body: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(body).expect("strings, numbers and lists serialize");
    with_type(code, JSON, whole(bytes))
}

pub fn with_type(code: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_status_that_no_terminal_obeys_and_nobody_keeps() {
        let reply = refusal(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "no \u{1b}[2J\r\nhere",
        );
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
        assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
        let Ok(body) = reply.into_body().collect().await;
        let status: serde_json::Value =
            serde_json::from_slice(&body.to_bytes()).expect("it is JSON");
        assert_eq!(
            (&status["kind"], &status["code"], &status["message"]),
            (&"Status".into(), &400.into(), &"no  [2J  here".into())
        );
    }
}
