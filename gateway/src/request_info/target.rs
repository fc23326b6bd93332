//! Splits and decodes a request target, and refuses the forms that do not mean the same everywhere.

use super::{Ambiguous, query::Query};

/// A request target, decoded.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) path: String,
    pub(super) query: Query<'a>,
    /// The path goes on behind the `proxy` subresource of a pod, service or node: its rest belongs to an
    /// application, and policy treats the whole subtree as one call.
    proxied: bool,
}

impl<'a> Target<'a> {
    pub(super) fn parse(target: &'a str) -> Result<Self, Ambiguous> {
        if target.contains(|character: char| character.is_ascii_control() || character == ' ') {
            return Err(Ambiguous::ControlCharacter);
        }
        if target.contains('#') {
            return Err(Ambiguous::Fragment);
        }
        let (path, query) = origin_form(target)?;
        let (path, proxied) = decode_path(path)?;
        Ok(Self {
            path,
            query: Query::parse(query)?,
            proxied,
        })
    }

    pub(super) fn check_method(&self, method: &str) -> Result<(), Ambiguous> {
        match method {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(()),
            "OPTIONS" if self.proxied => Ok(()),
            _ => Err(Ambiguous::UnsupportedMethod(method.to_owned())),
        }
    }
}

/// Path and query; of an absolute form (RFC 9112 section 3.2.2) what follows the authority.
fn origin_form(target: &str) -> Result<(&str, &str), Ambiguous> {
    let origin = match absolute_form(target) {
        Some("") => "/",
        Some(rest) => rest,
        None => target,
    };
    if !origin.starts_with('/') {
        return Err(Ambiguous::NotAPath);
    }
    Ok(origin.split_once('?').unwrap_or((origin, "")))
}

fn absolute_form(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then(|| &rest[rest.find(['/', '?']).unwrap_or(rest.len())..])
}

/// Decodes segment by segment, so that an encoded slash is seen for what it is.
fn decode_path(path: &str) -> Result<(String, bool), Ambiguous> {
    let mut segments: Vec<String> = Vec::new();
    let mut rest = path.strip_prefix('/');
    while let Some(remainder) = rest {
        if is_proxy(&segments) {
            let application = decode(remainder)?;
            return Ok((format!("/{}/{application}", segments.join("/")), true));
        }
        let (raw, tail) = match remainder.split_once('/') {
            Some((raw, tail)) => (raw, Some(tail)),
            None => (remainder, None),
        };
        let segment = decode(raw)?;
        check_segment(&segment, tail.is_none())?;
        segments.push(segment);
        rest = tail;
    }
    let proxied = is_proxy(&segments);
    Ok((format!("/{}", segments.join("/")), proxied))
}

fn check_segment(segment: &str, last: bool) -> Result<(), Ambiguous> {
    match segment {
        "" if last => Ok(()),
        "" => Err(Ambiguous::EmptySegment),
        "." | ".." => Err(Ambiguous::DotSegment),
        _ if segment.contains('/') => Err(Ambiguous::EncodedSlash),
        _ if segment.contains('%') => Err(Ambiguous::EncodedPercent),
        _ if segment.contains(char::is_control) => Err(Ambiguous::ControlCharacter),
        _ => Ok(()),
    }
}

fn is_proxy(segments: &[String]) -> bool {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    matches!(
        segments[..],
        [
            "api",
            "v1",
            "namespaces",
            _,
            "pods" | "services" | "nodes",
            _,
            "proxy"
        ] | ["api", "v1", "pods" | "services" | "nodes", _, "proxy"]
    )
}

fn decode(raw: &str) -> Result<String, Ambiguous> {
    String::from_utf8(unescape(raw).ok_or(Ambiguous::BadEscape)?).map_err(|_| Ambiguous::NotUtf8)
}

/// Percent-decoding; `None` where a `%` is not followed by two hexadecimal digits.
pub(super) fn unescape(raw: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
