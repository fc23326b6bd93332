//! Header rules: an allow-list in both directions.
//!
//! Order matters (CVE-2021-31999): what the client's `Connection` header names is dropped before ours
//! are added, never after, and the built request is checked once more before it is sent.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::identity::UserInfo;

/// Request headers that the API server may see from an agent; names that end in `-` are prefixes.
const FORWARDED: [&str; 12] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "user-agent",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "kubectl-",
    "traceparent",
    "tracestate",
];

/// Response headers that belong to one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A form that nobody serves.
const NOTHING: HeaderValue = HeaderValue::from_static("application/vnd.sallyport.nothing");

pub(super) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_UID: HeaderName = HeaderName::from_static("impersonate-uid");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const IMPERSONATE_EXTRA: &str = "impersonate-extra-";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the gateway itself says about a call. Not `Debug`: it holds the gateway's credential.
pub(super) struct Ours<'a> {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) user: &'a UserInfo,
    pub(super) audit_id: &'a str,
    /// Unknown of captured pods, who all come from loopback.
    pub(super) client: Option<std::net::IpAddr>,
}

/// The request was built wrongly; sending it could act as someone else.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("user {0:?} cannot be written as a header")]
    Unwritable(String),
    #[error("{0:?} is not a user the gateway may act as")]
    NotSynthetic(String),
    #[error("{0} impersonated users instead of one")]
    NotOneUser(usize),
    #[error("a header of the connection reached the request: {0}")]
    HopByHop(HeaderName),
    #[error("the target has dot segments, which a front proxy may resolve to another call")]
    DotSegments,
}

/// The name of an impersonation header that the client sent, in any spelling.
pub(super) fn impersonation(headers: &HeaderMap) -> Option<&HeaderName> {
    headers
        .keys()
        .find(|name| name.as_str().replace('_', "-").starts_with("impersonate-"))
}

/// The headers of the upstream request: the client's that are allowed, then ours.
pub(super) fn upstream(client: &HeaderMap, ours: &Ours<'_>) -> Result<HeaderMap, Violation> {
    let dropped = connection_tokens(client);
    let mut headers = HeaderMap::with_capacity(client.len() + 8);
    for (name, value) in client {
        if is_forwarded(name) && !dropped.iter().any(|token| token == name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    without_cbor(&mut headers);
    add_ours(&mut headers, ours)?;
    check(&headers)?;
    Ok(headers)
}

/// An answer in CBOR could be neither masked nor recorded, so none is asked for. Who takes nothing else is told by the
/// API server what there is: client-go then asks for that.
fn without_cbor(headers: &mut HeaderMap) {
    let accepted = headers.get_all(header::ACCEPT);
    if !accepted.iter().any(|value| is_cbor(value.as_bytes())) {
        return;
    }
    let clauses: Vec<&[u8]> = accepted
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter(|clause| !is_cbor(clause) && !clause.trim_ascii().is_empty())
        .collect();
    let left = HeaderValue::from_bytes(&clauses.join(&b","[..]));
    let left = left.ok().filter(|left| !left.is_empty());
    headers.insert(header::ACCEPT, left.unwrap_or(NOTHING));
}

/// Also `application/cbor-seq`, and whatever stands around it.
pub(super) fn is_cbor(media_types: &[u8]) -> bool {
    let name = b"cbor";
    media_types
        .windows(name.len())
        .any(|part| part.eq_ignore_ascii_case(name))
}

/// The headers of the response, without what belonged to the upstream connection.
pub(super) fn downstream(upstream: &HeaderMap) -> HeaderMap {
    let dropped = connection_tokens(upstream);
    let belongs = |name: &HeaderName| {
        HOP_BY_HOP.contains(name) || dropped.iter().any(|token| token == name.as_str())
    };
    upstream.iter().filter(|(name, _)| !belongs(name)).fold(
        HeaderMap::with_capacity(upstream.len()),
        |mut headers, (name, value)| {
            headers.append(name.clone(), value.clone());
            headers
        },
    )
}

fn is_forwarded(name: &HeaderName) -> bool {
    FORWARDED
        .iter()
        .any(|allowed| match allowed.strip_suffix('-') {
            Some(_) => name.as_str().starts_with(allowed),
            None => name == allowed,
        })
}

fn connection_tokens(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token).trim().to_ascii_lowercase())
        .collect()
}

fn add_ours(headers: &mut HeaderMap, ours: &Ours<'_>) -> Result<(), Violation> {
    let UserInfo {
        username,
        uid,
        groups,
        extra,
    } = ours.user;
    // `system:` users are the cluster's own; no configuration may make the gateway act as one.
    if !username.starts_with("sallyport:")
        || groups.iter().any(|group| group.starts_with("system:"))
    {
        return Err(Violation::NotSynthetic(username.clone()));
    }
    headers.insert(IMPERSONATE_USER, written(username)?);
    if let Some(uid) = uid {
        headers.insert(IMPERSONATE_UID, written(uid)?);
    }
    for group in groups {
        headers.append(IMPERSONATE_GROUP, written(group)?);
    }
    add_extra(headers, extra)?;
    if let Some(authorization) = &ours.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    headers.insert(AUDIT_ID, written(ours.audit_id)?);
    if let Some(client) = ours.client {
        headers.insert(FORWARDED_FOR, written(&client.to_string())?);
    }
    Ok(())
}

fn add_extra(
    headers: &mut HeaderMap,
    extra: &BTreeMap<String, Vec<String>>,
) -> Result<(), Violation> {
    for (key, values) in extra {
        let name = format!("{IMPERSONATE_EXTRA}{}", escaped(key));
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Violation::Unwritable(key.clone()))?;
        for value in values {
            headers.append(name.clone(), written(value)?);
        }
    }
    Ok(())
}

/// Percent-encodes what is not an RFC 7230 token, and `%`, as client-go does; the server unescapes it.
fn escaped(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes()
        .fold(String::with_capacity(key.len()), |mut name, byte| {
            if plain(byte) {
                name.push(char::from(byte.to_ascii_lowercase()));
            } else {
                name.push_str(&format!("%{byte:02x}"));
            }
            name
        })
}

fn written(value: &str) -> Result<HeaderValue, Violation> {
    HeaderValue::from_str(value).map_err(|_| Violation::Unwritable(value.to_owned()))
}

/// Exactly one user, and nothing that a next hop would take as an order to drop headers.
fn check(headers: &HeaderMap) -> Result<(), Violation> {
    let users = headers.get_all(IMPERSONATE_USER).iter().count();
    if users != 1 {
        return Err(Violation::NotOneUser(users));
    }
    match HOP_BY_HOP.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(Violation::HopByHop(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
