//! The audiences a TokenRequest asks for, in the two formats that clients send.
//!
//! A token for the API server's own audience would take its holder past the gateway, so a body that
//! cannot be read here is refused.

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    policy::{Denial, floor},
    request_info::RequestInfo,
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
pub(super) fn check(content_type: Option<&str>, body: &Bytes) -> Result<(), Denial> {
    let audiences = match content_type.map(media_type) {
        Some("application/json") => from_json(body),
        Some("application/vnd.kubernetes.protobuf") => protobuf::audiences(body),
        _ => None,
    };
    floor::token_request(&audiences.unwrap_or_default())
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
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

/// Just enough of the wire format: `k8s\0`, `runtime.Unknown{raw: 2}`, `TokenRequest{spec: 2}`,
/// `TokenRequestSpec{audiences: 1}` (k8s.io/api authentication/v1 generated.proto).
mod protobuf {
    const MAGIC: &[u8] = b"k8s\0";

    pub(super) fn audiences(body: &[u8]) -> Option<Vec<String>> {
        let unknown = body.strip_prefix(MAGIC)?;
        let [raw] = fields(unknown, 2)?.try_into().ok()?;
        // Go merges an embedded message that is given several times, so all of them count.
        let mut audiences = Vec::new();
        for spec in fields(raw, 2)? {
            for audience in fields(spec, 1)? {
                audiences.push(String::from_utf8(audience.to_vec()).ok()?);
            }
        }
        Some(audiences)
    }

    /// The length-delimited fields with `number`, in order; `None` where the message is malformed.
    fn fields(mut message: &[u8], number: u32) -> Option<Vec<&[u8]>> {
        let mut found = Vec::new();
        while !message.is_empty() {
            // Go keeps 32 bits of a tag, so a longer one would be another field there than here.
            let tag = u32::try_from(varint(&mut message)?).ok()?;
            match tag & 7 {
                0 => drop(varint(&mut message)?),
                1 => drop(take(&mut message, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    let value = take(&mut message, length)?;
                    if tag >> 3 == number {
                        found.push(value);
                    }
                }
                5 => drop(take(&mut message, 4)?),
                _ => return None,
            }
        }
        Some(found)
    }

    fn varint(message: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *take(message, 1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = message.split_at_checked(length)?;
        *message = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> bool {
        check(
            Some("application/json"),
            &Bytes::copy_from_slice(text.as_bytes()),
        )
        .is_ok()
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
        check(Some("application/vnd.kubernetes.protobuf"), &body.into()).is_ok()
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
        assert!(check(Some("application/vnd.kubernetes.protobuf"), &body.into()).is_err());
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused() {
        for (content_type, body) in [
            (Some("application/yaml"), "spec: {audiences: [sallyport]}"),
            (Some("application/vnd.kubernetes.protobuf"), "k8s\0\u{12}"),
            (
                Some("application/vnd.kubernetes.protobuf"),
                r#"{"spec":{"audiences":["sallyport"]}}"#,
            ),
            (None, r#"{"spec":{"audiences":["sallyport"]}}"#),
        ] {
            assert!(
                check(content_type, &Bytes::copy_from_slice(body.as_bytes())).is_err(),
                "{body}"
            );
        }
    }
}
