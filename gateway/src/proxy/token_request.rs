//! The audiences a TokenRequest asks for, in the two formats that clients send.
//!
//! A token for the API server's own audience would take its holder past the gateway, so a body that
//! cannot be read here is refused.

use serde::Deserialize;

use super::protobuf_fields::{object, values};
use crate::{
    policy::{Denial, floor},
    request_info::{RequestInfo, media_type},
};

/// Whether `info` mints a ServiceAccount token.
pub(super) fn mints_token(info: &RequestInfo) -> bool {
    info.is_resource_request
        && info.api_group.is_empty()
        && info.resource == "serviceaccounts"
        && info.subresource == "token"
        && !matches!(info.verb.as_str(), "get" | "list" | "watch")
}

/// Refuses a TokenRequest for any audience but our own. An unreadable body counts as no audience,
/// which to the API server means its own.
pub(super) fn check(content_type: Option<&[u8]>, body: &[u8]) -> Result<(), Denial> {
    let audiences = match &*media_type(content_type) {
        "application/json" => from_json(body),
        "application/vnd.kubernetes.protobuf" => from_protobuf(body),
        _ => None,
    };
    floor::token_request(&audiences.unwrap_or_default())
}

/// `TokenRequest{spec: 2}`, `TokenRequestSpec{audiences: 1}` (k8s.io/api authentication/v1 generated.proto).
fn from_protobuf(body: &[u8]) -> Option<Vec<String>> {
    values(object(body)?, &[2, 1])?
        .into_iter()
        .map(|audience| String::from_utf8(audience.to_vec()).ok())
        .collect()
}

/// serde refuses a field that is given twice, so what is read here is what the API server reads.
fn from_json(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct TokenRequest {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        audiences: Vec<String>,
    }
    Some(
        serde_json::from_slice::<TokenRequest>(body)
            .ok()?
            .spec
            .audiences,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> bool {
        check(Some(b"application/json"), text.as_bytes()).is_ok()
    }

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(value.len()).expect("short")];
        bytes.extend(value);
        bytes
    }

    fn protobuf(specs: &[&[&str]]) -> bool {
        let specs = specs.iter().flat_map(|audiences| {
            let spec: Vec<u8> = audiences
                .iter()
                .flat_map(|audience| field(1, audience.as_bytes()))
                .collect();
            field(2, &spec)
        });
        let body = [b"k8s\0".to_vec(), field(2, &specs.collect::<Vec<_>>())].concat();
        check(Some(b"application/vnd.kubernetes.protobuf"), &body).is_ok()
    }

    #[test]
    fn only_our_own_audience_is_minted() {
        assert!(json(r#"{"spec":{"audiences":["sallyport"]}}"#));
        assert!(!json(
            r#"{"spec":{"audiences":["sallyport","https://kubernetes.default.svc"]}}"#
        ));
        assert!(protobuf(&[&["sallyport"]]));
        assert!(!protobuf(&[&["vault"]]));
    }

    #[test]
    fn no_audience_means_the_api_server_and_is_refused() {
        assert!(!json(r#"{"spec":{"audiences":[]}}"#));
        assert!(!json(r#"{"spec":{}}"#));
        assert!(!json(r#"{}"#));
        assert!(!protobuf(&[&[]]));
        assert!(!protobuf(&[]));
    }

    #[test]
    fn an_audience_cannot_be_hidden_behind_a_second_field() {
        assert!(!json(
            r#"{"spec":{"audiences":["sallyport"]},"spec":{"audiences":[]}}"#
        ));
        assert!(!json(
            r#"{"spec":{"audiences":["sallyport"],"audiences":["api"]}}"#
        ));
        assert!(!protobuf(&[&["sallyport"], &["api"]]));
    }

    #[test]
    fn a_tag_that_go_would_cut_to_another_field_is_refused() {
        // Field 2^32 + 2, which Go's generated code takes for a second field 2.
        let second_raw = [&[0x92, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00][..]].concat();
        let spec = field(2, &field(1, b"sallyport"));
        let body = [b"k8s\0".to_vec(), field(2, &spec), second_raw].concat();
        assert!(check(Some(b"application/vnd.kubernetes.protobuf"), &body).is_err());
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused() {
        for (content_type, body) in [
            (
                Some(&b"application/yaml"[..]),
                "spec: {audiences: [sallyport]}",
            ),
            (Some(b"application/vnd.kubernetes.protobuf"), "k8s\0\u{12}"),
            (
                Some(b"application/vnd.kubernetes.protobuf"),
                r#"{"spec":{"audiences":["sallyport"]}}"#,
            ),
            (None, r#"{"spec":{"audiences":["sallyport"]}}"#),
        ] {
            assert!(check(content_type, body.as_bytes()).is_err(), "{body}");
        }
    }
}
