//! Who sent a message, and when: Slack's scheme, both ways.
//!
//! `X-Sallyport-Signature: v0=<hex>` is HMAC-SHA256 over `v0:<timestamp>:<body>`, and `X-Sallyport-Timestamp` is the
//! time in seconds since 1970.

use aws_lc_rs::hmac;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::hex;

pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-sallyport-timestamp");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-sallyport-signature");

const VERSION: &str = "v0";
const DIGEST_BYTES: usize = 32;

/// One signature, which is accepted once.
pub(super) type Signature = [u8; DIGEST_BYTES];

pub(super) fn headers(
    secret: &[u8],
    now: Timestamp,
    body: &[u8],
) -> [(HeaderName, HeaderValue); 2] {
    let timestamp = now.as_second().to_string();
    let signature = sign(secret, &timestamp, body);
    [(TIMESTAMP, timestamp), (SIGNATURE, signature)].map(|(name, value)| {
        let value = HeaderValue::try_from(value).expect("digits and hex are a header value");
        (name, value)
    })
}

fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, &signed(timestamp, body));
    format!("{VERSION}={}", hex::encode(tag.as_ref()))
}

/// The signature, if it is that of this body at this time. Compared in constant time.
pub(super) fn verify(
    secret: &[u8],
    timestamp: &str,
    body: &[u8],
    signature: &str,
) -> Option<Signature> {
    let signature = parse(signature)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, &signed(timestamp, body), &signature).ok()?;
    Some(signature)
}

fn signed(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [VERSION.as_bytes(), b":", timestamp.as_bytes(), b":", body].concat()
}

fn parse(text: &str) -> Option<Signature> {
    let hex = text.strip_prefix(VERSION)?.strip_prefix('=')?.as_bytes();
    let mut signature = [0; DIGEST_BYTES];
    if hex.len() != 2 * DIGEST_BYTES {
        return None;
    }
    for (byte, digits) in signature.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example in Slack's documentation of "Verifying requests from Slack".
    #[test]
    fn signature_is_slacks() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                    &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmib\
                    IGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let secret = b"8f742231b10e8888abcd99yyyzzz85a5";
        assert_eq!(sign(secret, "1531420618", body.as_bytes()), signature);
        assert!(verify(secret, "1531420618", body.as_bytes(), signature).is_some());
    }

    proptest! {
        #[test]
        fn nothing_but_the_signature_is_accepted(
            body in prop::collection::vec(any::<u8>(), 0..64),
            other in ".{0,80}",
            flipped in 0..64_usize,
        ) {
            let good = sign(b"secret", "100", &body);
            prop_assert!(verify(b"secret", "100", &body, &good).is_some());
            prop_assert!(verify(b"secret", "101", &body, &good).is_none());
            prop_assert!(verify(b"another", "100", &body, &good).is_none());
            prop_assert!(verify(b"secret", "100", &[&body[..], b"x"].concat(), &good).is_none());
            prop_assert!(verify(b"secret", "100", &body, &other).is_none());
            let mut wrong = good.into_bytes();
            let digit = &mut wrong[3 + flipped];
            *digit = if *digit == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).expect("it is ASCII");
            prop_assert!(verify(b"secret", "100", &body, &wrong).is_none());
        }
    }
}
