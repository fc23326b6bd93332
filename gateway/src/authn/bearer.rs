//! The credential as it arrives: one `Authorization: Bearer` header (RFC 6750 section 2.1), or a subprotocol of a
//! WebSocket handshake, for clients that cannot set headers.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header::AUTHORIZATION};
use serde::Deserialize;

use super::{Unauthenticated, subprotocol};

/// Longer than any real token; GitHub's are about 2 KiB.
pub(super) const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The one bearer token of a request, wherever it is. Two that are equal are two.
pub(super) fn credential(headers: &HeaderMap) -> Result<Cow<'_, str>, Unauthenticated> {
    let token = match subprotocol::token(headers)? {
        None => return bearer_token(headers).map(Cow::Borrowed),
        Some(_) if headers.contains_key(AUTHORIZATION) => {
            return Err(Unauthenticated::SeveralCredentials);
        }
        Some(token) => token,
    };
    checked(&token)?;
    Ok(Cow::Owned(token))
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Unauthenticated> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthenticated::Missing)?;
    if values.next().is_some() {
        return Err(Unauthenticated::SeveralCredentials);
    }
    let text = value.to_str().map_err(|_| Unauthenticated::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Unauthenticated::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unauthenticated::NotBearer);
    }
    checked(token.trim_matches(' '))
}

fn checked(token: &str) -> Result<&str, Unauthenticated> {
    if token.is_empty() {
        return Err(Unauthenticated::Missing);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Unauthenticated::Oversized);
    }
    if !token.bytes().all(is_jws_byte) {
        return Err(Unauthenticated::Malformed);
    }
    Ok(token)
}

fn is_jws_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// What a token says of its origin before anything is verified. It only selects who verifies.
#[derive(Deserialize)]
pub(super) struct UnverifiedOrigin {
    #[serde(rename = "iss")]
    pub(super) issuer: String,
    /// The API server's private claims, present in every ServiceAccount token.
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<serde::de::IgnoredAny>,
}

impl UnverifiedOrigin {
    pub(super) fn of(token: &str) -> Result<Self, Unauthenticated> {
        let payload = token.split('.').nth(1).ok_or(Unauthenticated::Malformed)?;
        let json = BASE64_URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| Unauthenticated::Malformed)?;
        serde_json::from_slice(&json).map_err(|_| Unauthenticated::Malformed)
    }

    pub(super) fn is_service_account(&self) -> bool {
        self.kubernetes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| {
            (
                AUTHORIZATION,
                HeaderValue::from_str(text).expect("a header value"),
            )
        };
        values.iter().map(value).collect()
    }

    fn reason(values: &[&str]) -> &'static str {
        bearer_token(&headers(values))
            .expect_err("refused")
            .reason()
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_padding_is_trimmed() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(bearer_token(&headers(&[value])).expect("a token"), "a.b.c");
        }
    }

    #[test]
    fn anything_but_one_bearer_header_is_refused() {
        assert_eq!(reason(&[]), "missing");
        assert_eq!(reason(&["Bearer "]), "missing");
        assert_eq!(reason(&["Bearer"]), "not_bearer");
        assert_eq!(reason(&["Basic dXNlcjpwYXNz"]), "not_bearer");
        assert_eq!(
            reason(&["Bearer a.b.c", "Bearer a.b.c"]),
            "several_credentials"
        );
        assert_eq!(reason(&["Bearer a.b.c, Bearer d.e.f"]), "malformed");
        assert_eq!(reason(&["Bearer a b"]), "malformed");
    }

    #[test]
    fn an_oversized_token_is_refused_before_it_is_parsed() {
        let longest = "a".repeat(MAX_TOKEN_BYTES);
        assert!(bearer_token(&headers(&[&format!("Bearer {longest}")])).is_ok());
        assert_eq!(reason(&[&format!("Bearer {longest}a")]), "oversized");
    }

    proptest! {
        #[test]
        fn no_payload_panics_or_yields_an_issuer_it_does_not_name(payload in ".*", token in "[ -~]*") {
            let encoded = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(&payload));
            if let Ok(origin) = UnverifiedOrigin::of(&encoded) {
                let parsed: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
                prop_assert_eq!(parsed["iss"].as_str(), Some(origin.issuer.as_str()));
            }
            prop_assert!(UnverifiedOrigin::of(&token).is_err());
        }
    }
}
