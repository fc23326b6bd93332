//! The answer to a TokenRequest, read before it goes on.
//!
//! The request was judged by our own reading of its body. Should the API server have read it otherwise,
//! the token it minted says so: its audience is in it, in every format.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use serde::Deserialize;

use super::upstream::UpstreamBody;
use crate::policy::{Denial, floor};

/// A token is a few KiB.
const LIMIT: usize = 256 << 10;

/// The whole answer, if every token in it is for our own audience alone.
pub(super) async fn read(body: UpstreamBody) -> Result<Bytes, Denial> {
    let collected = Limited::new(body, LIMIT).collect().await;
    // What cannot be read holds no token of ours.
    let bytes = collected.map(Collected::to_bytes).unwrap_or_default();
    floor::token_request(&audiences(&bytes))?;
    Ok(bytes)
}

/// The audiences of all JWTs in `bytes`; none where there is no JWT.
fn audiences(bytes: &[u8]) -> Vec<String> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes
        .split(|byte| !is_token(byte))
        .filter_map(|word| {
            word.windows(3)
                .position(|start| start == b"eyJ")
                .map(|at| &word[at..])
        })
        .filter_map(claimed)
        .flatten()
        .collect()
}

fn claimed(token: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        aud: Audience,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    impl Default for Audience {
        fn default() -> Self {
            Self::One(String::new())
        }
    }
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    match serde_json::from_slice::<Claims>(&payload).ok()?.aud {
        Audience::One(audience) => Some(vec![audience]),
        Audience::Many(audiences) => Some(audiences),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(claims: &str) -> Vec<String> {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(claims));
        assert_eq!(
            audiences(format!("k8s\0\x12\x05x{token}\x1a").as_bytes()),
            audiences(format!(r#"{{"status":{{"token":"{token}"}}}}"#).as_bytes())
        );
        audiences(token.as_bytes())
    }

    #[test]
    fn audiences_are_read_in_every_format() {
        assert_eq!(answer(r#"{"aud":["sallyport"]}"#), ["sallyport"]);
        assert_eq!(answer(r#"{"aud":"api"}"#), ["api"]);
        assert_eq!(
            answer(r#"{"aud":["sallyport","api"]}"#),
            ["sallyport", "api"]
        );
    }

    #[test]
    fn a_token_without_audience_is_not_ours() {
        assert_eq!(answer(r#"{"iss":"x"}"#), [""]);
    }

    #[test]
    fn an_answer_without_a_token_gives_none() {
        assert!(audiences(br#"{"kind":"Status"}"#).is_empty());
    }
}
