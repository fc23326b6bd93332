//! Short texts: request URIs, `Status` messages, user agents.

use super::{Key, Masked};
use crate::request_info::RequestInfo;

/// kube-apiserver's bound and suffix for user agents in audit events.
const TEXT_LIMIT: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";

/// Shorter words after `Bearer` are prose.
const BEARER_MIN: usize = 16;

/// Query keys whose values are secret, or may be: what `exec` runs is often a password on a command line.
const SECRET_KEYS: [&str; 18] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "bearer",
    "client_secret",
    "command",
    "id_token",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "token",
];

/// The request target as it was sent, with placeholders for secret query values. What a proxied
/// application puts into its query is unknown, so there the query is replaced whole.
pub fn request_uri(key: &Key, request: &RequestInfo, target: &str) -> Masked<String> {
    let Some((path, query)) = target.split_once('?') else {
        return Masked(hide(key, without_credentials(target)));
    };
    let mut masked = hide(key, without_credentials(path));
    masked.push('?');
    if query.is_empty() {
        return Masked(masked);
    }
    if request.subresource == "proxy" || request.verb == "proxy" {
        masked.push_str(&key.placeholder(query.as_bytes()));
        return Masked(masked);
    }
    for pair in query.split_inclusive(['&', ';']) {
        let end = pair.trim_end_matches(['&', ';']).len();
        push_pair(key, &mut masked, &pair[..end]);
        masked.push_str(&pair[end..]);
    }
    Masked(masked)
}

/// Like [`request_uri`], cut after `limit` bytes: for records whose number and size are an outsider's
/// to choose.
pub fn request_uri_start(
    key: &Key,
    request: &RequestInfo,
    target: &str,
    limit: usize,
) -> Masked<String> {
    Masked(cut(request_uri(key, request, target).0, limit))
}

/// A short free text, with placeholders for JWTs, PEM blocks and bearer tokens. Cut after 1024 bytes.
pub fn text(key: &Key, text: &str) -> Masked<String> {
    Masked(cut(hide(key, text), TEXT_LIMIT))
}

/// A [`text`] that kube-apiserver cuts in the same way.
pub fn user_agent(key: &Key, agent: &str) -> Masked<String> {
    text(key, agent)
}

/// Only after masking: what begins a secret may not look like one.
fn cut(mut masked: String, limit: usize) -> String {
    if masked.len() > limit {
        masked.truncate(masked.floor_char_boundary(limit));
        masked.push_str(TRUNCATED);
    }
    masked
}

fn push_pair(key: &Key, masked: &mut String, pair: &str) {
    match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_key(name) => {
            masked.push_str(name);
            masked.push('=');
            masked.push_str(&key.placeholder(&query_decoded(value)));
        }
        _ => masked.push_str(&hide(key, pair)),
    }
}

fn is_secret_key(name: &str) -> bool {
    let name = query_decoded(name);
    SECRET_KEYS
        .iter()
        .any(|secret| name.trim_ascii().eq_ignore_ascii_case(secret.as_bytes()))
}

/// An absolute target may carry `user:password@`; the API server never looks at it.
fn without_credentials(target: &str) -> &str {
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return target;
    };
    let authority = rest.find('/').unwrap_or(rest.len());
    rest[..authority]
        .rfind('@')
        .map_or(target, |at| &rest[at + 1..])
}

/// Decodes `%xx` and `+`; what is no escape stays as it is.
fn query_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escaped = tail
            .first_chunk::<2>()
            .filter(|_| *byte == b'%')
            .and_then(hex_pair);
        decoded.push(match escaped {
            Some(value) => value,
            None if *byte == b'+' => b' ',
            None => *byte,
        });
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

fn hex_pair(pair: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
}

/// One pass: no byte is looked at more than a few times, whatever the text is.
pub(super) fn hide(key: &Key, text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = String::with_capacity(text.len());
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        match secret_at(bytes, at) {
            Found::Secret { start, end } => {
                masked.push_str(&text[copied..start]);
                masked.push_str(&key.placeholder(&bytes[start..end]));
                (copied, at) = (end, end);
            }
            Found::NothingBefore(next) => at = next,
        }
    }
    masked.push_str(&text[copied..]);
    masked
}

enum Found {
    Secret { start: usize, end: usize },
    NothingBefore(usize),
}

/// All patterns begin and end at ASCII bytes, so the bounds are bounds of characters.
fn secret_at(text: &[u8], at: usize) -> Found {
    match text[at] {
        b'e' => json_web_token(text, at),
        b'-' => pem_block(text, at),
        b'b' | b'B' => bearer_token(text, at),
        _ => Found::NothingBefore(at + 1),
    }
}

/// Three or more parts of base64url, the first of which begins like `{"`.
fn json_web_token(text: &[u8], start: usize) -> Found {
    if !text[start..].starts_with(b"eyJ") {
        return Found::NothingBefore(start + 1);
    }
    let first = run(text, start, is_base64url);
    let part_after =
        |end: usize| (text.get(end) == Some(&b'.')).then(|| run(text, end + 1, is_base64url));
    let Some(mut end) = part_after(first)
        .filter(|second| *second > first + 1)
        .and_then(part_after)
    else {
        return Found::NothingBefore(first);
    };
    while let Some(next) = part_after(end).filter(|next| *next > end + 1) {
        end = next;
    }
    Found::Secret { start, end }
}

/// Up to the end line, or to the end of a text that was cut.
fn pem_block(text: &[u8], start: usize) -> Found {
    let block = &text[start..];
    if !block.starts_with(b"-----BEGIN ") {
        return Found::NothingBefore(start + 1);
    }
    let end = memchr::memmem::find(block, b"-----END ").and_then(|line| {
        let label = line + b"-----END ".len();
        Some(label + memchr::memmem::find(&block[label..], b"-----")? + b"-----".len())
    });
    Found::Secret {
        start,
        end: end.map_or(text.len(), |end| start + end),
    }
}

fn bearer_token(text: &[u8], at: usize) -> Found {
    const SCHEME: &[u8] = b"bearer ";
    let start = at + SCHEME.len();
    let named = text
        .get(at..start)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let end = if named {
        run(text, start, is_token68)
    } else {
        start
    };
    if named && end - start >= BEARER_MIN {
        return Found::Secret { start, end };
    }
    Found::NothingBefore(at + 1)
}

fn run(text: &[u8], start: usize, within: fn(u8) -> bool) -> usize {
    text[start..]
        .iter()
        .position(|byte| !within(*byte))
        .map_or(text.len(), |length| start + length)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// RFC 9110 section 11.2.
fn is_token68(byte: u8) -> bool {
    is_base64url(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests;
