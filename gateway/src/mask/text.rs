//! Short texts: request URIs, `Status` messages, user agents.

use std::ops::Range;

use super::{Key, Masked, arguments::Arguments};
use crate::request_info::RequestInfo;

/// kube-apiserver's bound and suffix for user agents in audit events.
const TEXT_LIMIT: usize = 1024;
pub(super) const TRUNCATED: &str = "...TRUNCATED";

/// Query keys whose values are secret, or may be.
const SECRET_KEYS: [&str; 17] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "bearer",
    "client_secret",
    "id_token",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "token",
];

/// The request target as it was sent, with placeholders for secret query values, and in the command of an exec for
/// what may be a password. What a proxied application puts into its query is unknown, so there the query is replaced
/// whole.
pub fn request_uri(key: &Key, request: &RequestInfo, target: &str) -> Masked<String> {
    let is_proxied = request.subresource == "proxy" || request.verb == "proxy";
    match target.split_once('?') {
        Some((path, query)) if is_proxied && !query.is_empty() => {
            let path = hide(key, without_credentials(path));
            Masked(format!("{path}?{}", key.placeholder(query.as_bytes())))
        }
        _ => Masked(pairwise(key, target, push_argument)),
    }
}

/// Pair for pair of the query, with what `command` makes of the arguments in it.
pub(super) fn pairwise(
    key: &Key,
    target: &str,
    command: impl Fn(&mut Arguments, &Key, &mut String, &str),
) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return hide(key, without_credentials(target));
    };
    let mut arguments = Arguments::default();
    let mut masked = hide(key, without_credentials(path));
    masked.push('?');
    for pair in query.split_inclusive(['&', ';']) {
        let end = pair.trim_end_matches(['&', ';']).len();
        match pair[..end].split_once('=') {
            Some((name, _)) if query_decoded(name) == b"command" => {
                command(&mut arguments, key, &mut masked, &pair[..end]);
            }
            _ => push_pair(key, &mut masked, &pair[..end]),
        }
        masked.push_str(&pair[end..]);
    }
    masked
}

fn push_argument(arguments: &mut Arguments, key: &Key, masked: &mut String, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let argument = arguments.masked(key, &query_decoded(value));
    masked.push_str(name);
    masked.push('=');
    match argument {
        Some(argument) => masked.push_str(&query_encoded(&argument)),
        None => masked.push_str(value),
    }
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

/// A short free text, with placeholders for what detectors find. Cut after 1024 bytes.
pub fn text(key: &Key, text: &str) -> Masked<String> {
    Masked(cut(hide(key, text), TEXT_LIMIT))
}

/// Whether detectors find a secret in a text.
pub fn has_secret(key: &Key, text: &str) -> bool {
    let (bytes, detectors) = (text.as_bytes(), key.detectors());
    !detectors.secrets(bytes).is_empty() || !detectors.told(bytes).is_empty()
}

/// A [`text`] that is not cut: for who bounds it.
pub fn whole_text(key: &Key, text: &str) -> Masked<String> {
    Masked(hide(key, text))
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

pub(super) fn push_pair(key: &Key, masked: &mut String, pair: &str) {
    match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_key(name) => {
            masked.push_str(name);
            masked.push('=');
            masked.push_str(&key.placeholder(&query_decoded(value)));
        }
        _ => masked.push_str(&hide(key, pair)),
    }
}

pub(super) fn is_secret_key(name: &str) -> bool {
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

fn query_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b':' | b'/' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Decodes `%xx` and `+`; what is no escape stays as it is.
pub(super) fn query_decoded(text: &str) -> Vec<u8> {
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

/// With placeholders for what [detectors](super::detectors) find, and for what telling names give away.
pub(super) fn hide(key: &Key, text: &str) -> String {
    let bytes = text.as_bytes();
    let detectors = key.detectors();
    let mut found = detectors.secrets(bytes);
    found.extend(detectors.told(bytes));
    replaced(key, text, found)
}

/// With placeholders for what detectors alone find.
pub(super) fn hide_known(key: &Key, text: &str) -> String {
    replaced(key, text, key.detectors().secrets(text.as_bytes()))
}

pub(super) fn replaced(key: &Key, text: &str, mut found: Vec<Range<usize>>) -> String {
    let bytes = text.as_bytes();
    found.sort_by_key(|secret| secret.start);
    let mut masked = String::with_capacity(text.len());
    let mut copied = 0;
    for secret in joined(found) {
        masked.push_str(&text[copied..secret.start]);
        masked.push_str(&key.placeholder(&bytes[secret.clone()]));
        copied = secret.end;
    }
    masked.push_str(&text[copied..]);
    masked
}

/// As one where they overlap.
pub(super) fn joined(found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for next in found {
        match joined.last_mut() {
            Some(last) if next.start < last.end => last.end = last.end.max(next.end),
            _ => joined.push(next),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
