//! A bearer token among the subprotocols of a WebSocket handshake, as kube-apiserver takes it from browsers, which
//! cannot set an `Authorization` header (`k8s.io/apiserver/pkg/authentication/request/websocket`).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderValue,
    header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};

use super::Unauthenticated;

const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether the name of a subprotocol is a credential. In any case of letters: whatever might be one stays here.
pub fn is_bearer_subprotocol(name: &str) -> bool {
    encoded(name).is_some()
}

/// The token of a WebSocket handshake that has one. Elsewhere the header means nothing.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<String>, Unauthenticated> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let (mut tokens, mut others) = (Vec::new(), false);
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for name in line.split(',').map(str::trim) {
            match encoded(name) {
                Some(encoded) => tokens.push(decode(encoded)?),
                None => others |= !name.is_empty(),
            }
        }
    }
    match (tokens.len(), others) {
        (0, _) => Ok(None),
        (1, true) => Ok(tokens.pop()),
        (1, false) => Err(Unauthenticated::NoOtherSubprotocol),
        _ => Err(Unauthenticated::SeveralCredentials),
    }
}

fn encoded(name: &str) -> Option<&str> {
    let (prefix, encoded) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(encoded)
}

fn decode(encoded: &str) -> Result<String, Unauthenticated> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Unauthenticated::Malformed)?;
    String::from_utf8(bytes).map_err(|_| Unauthenticated::Malformed)
}

/// As kube-apiserver reads it.
fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrades = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.contains("upgrade")
    };
    let protocol = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && headers.get_all(CONNECTION).iter().any(upgrades)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handshake(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        for line in protocols {
            let value = HeaderValue::from_str(line).expect("a header value");
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
        headers
    }

    fn bearer(token: &str) -> String {
        format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(token))
    }

    fn reason(headers: &HeaderMap) -> &'static str {
        token(headers).expect_err("refused").reason()
    }

    #[test]
    fn the_token_is_found_beside_another_protocol() {
        let bearer = bearer("a.b.c");
        for lines in [
            &[&*format!("{bearer}, v4.channel.k8s.io")][..],
            &[&format!("v4.channel.k8s.io,{bearer}")],
            &["v4.channel.k8s.io", &bearer],
            &[
                &bearer.to_ascii_uppercase()[..PREFIX.len()],
                "v4.channel.k8s.io",
                &bearer,
            ][1..],
        ] {
            let found = token(&handshake(lines)).expect("a handshake");
            assert_eq!(found.as_deref(), Some("a.b.c"), "{lines:?}");
        }
        let none = token(&handshake(&["v4.channel.k8s.io"])).expect("a handshake");
        assert_eq!(none, None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let (one, other) = (bearer("a.b.c"), bearer("d.e.f"));
        assert_eq!(
            reason(&handshake(&[&one, &other, "v4.channel.k8s.io"])),
            "several_credentials"
        );
        assert_eq!(
            reason(&handshake(&[&one, &one, "v4.channel.k8s.io"])),
            "several_credentials"
        );
        assert_eq!(reason(&handshake(&[&one])), "no_other_subprotocol");
        assert_eq!(reason(&handshake(&[&one, " , "])), "no_other_subprotocol");
        for encoded in ["?", "YQ==", "_w"] {
            let lines = [&*format!("{PREFIX}{encoded}"), "v4.channel.k8s.io"];
            assert_eq!(reason(&handshake(&lines)), "malformed", "{encoded}");
        }
    }

    #[test]
    fn only_a_websocket_handshake_has_such_a_token() {
        let mut headers = handshake(&[&bearer("a.b.c"), "v4.channel.k8s.io"]);
        headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        assert_eq!(token(&headers).expect("no handshake"), None);
        headers.remove(UPGRADE);
        assert_eq!(token(&headers).expect("no handshake"), None);
    }

    #[test]
    fn the_prefix_is_a_credential_in_any_case_of_letters() {
        assert!(is_bearer_subprotocol(&bearer("a.b.c")));
        assert!(is_bearer_subprotocol(&PREFIX.to_ascii_uppercase()));
        assert!(!is_bearer_subprotocol("v5.channel.k8s.io"));
        assert!(!is_bearer_subprotocol(&PREFIX[1..]));
    }

    proptest! {
        #[test]
        fn no_header_panics(line in "[ -~]*") {
            let _ = token(&handshake(&[&line]));
        }

        #[test]
        fn every_token_comes_back(text in "\\PC+") {
            let found = token(&handshake(&[&bearer(&text), "v5.channel.k8s.io"])).expect("a handshake");
            prop_assert_eq!(found, Some(text));
        }
    }
}
