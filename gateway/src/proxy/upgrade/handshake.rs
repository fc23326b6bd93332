//! The headers of an upgrade, in both directions: only what the handshake needs, and written by us.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{authn::is_bearer_subprotocol, proxy::channels::has_status};

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// kubectl offers five at most.
const MOST_OFFERED: usize = 32;

/// RFC 6455, section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_LENGTH: usize = 16;

/// What Kubernetes' clients upgrade to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    WebSocket,
    Spdy,
}

/// An upgrade as it is asked of the API server.
#[derive(Debug)]
pub(in crate::proxy) struct Handshake {
    protocol: Protocol,
    /// `Sec-WebSocket-Key` and `-Version`, and `Origin`, on which what is behind the API server may insist.
    websocket: Vec<(HeaderName, HeaderValue)>,
    /// The subprotocols that the client can speak, its credential not among them.
    offered: Vec<String>,
    /// The client has its answer, with the one subprotocol that is offered.
    is_accepted: bool,
}

/// Why an upgrade cannot be served.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::proxy) enum Unusable {
    #[error("the Upgrade header must be `websocket` or `SPDY/3.1`")]
    Protocol,
    #[error("{0} requests cannot be upgraded: WebSocket takes GET, SPDY/3.1 takes GET or POST")]
    Method(Method),
    #[error("a request that is to be upgraded has no body")]
    Body,
    #[error("a WebSocket handshake has one {0} header")]
    NotOne(HeaderName),
    #[error("the {0} header is not a list of protocol names, {MOST_OFFERED} at most")]
    Protocols(HeaderName),
}

/// A 101 that is not the answer to what was asked. Its connection is closed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::proxy) enum Foreign {
    #[error("no upgrade was asked for")]
    Unasked,
    #[error("its Upgrade header is another one")]
    Protocol,
    #[error("it has chosen a subprotocol that was not offered")]
    Subprotocol,
    #[error("it uses WebSocket extensions, and none were offered")]
    Extensions,
    #[error("it has chosen no subprotocol, and the client waits for one")]
    NoSubprotocol,
}

/// Whether a request asks for an upgrade. As the API server reads it: anywhere in a `Connection` header.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let asks = |value: &HeaderValue| contains(value, "upgrade");
    headers.contains_key(header::UPGRADE) && headers.get_all(header::CONNECTION).iter().any(asks)
}

/// Whether an `Upgrade` header speaks of WebSocket in any form that somebody might take for one.
pub(super) fn names_websocket(headers: &HeaderMap) -> bool {
    let names = |value: &HeaderValue| contains(value, "websocket");
    headers.get_all(header::UPGRADE).iter().any(names)
}

fn contains(value: &HeaderValue, word: &str) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    text.contains(word)
}

impl Protocol {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Unusable> {
        let value = only(headers, &header::UPGRADE).ok_or(Unusable::Protocol)?;
        [Self::WebSocket, Self::Spdy]
            .into_iter()
            .find(|known| known.is(value))
            .ok_or(Unusable::Protocol)
    }

    fn is(self, value: &HeaderValue) -> bool {
        let name = self.name();
        value.as_bytes().eq_ignore_ascii_case(name.as_bytes())
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::WebSocket => "websocket",
            Self::Spdy => "SPDY/3.1",
        })
    }

    /// Where subprotocols are negotiated.
    fn negotiation(self) -> HeaderName {
        match self {
            Self::WebSocket => header::SEC_WEBSOCKET_PROTOCOL,
            Self::Spdy => STREAM_PROTOCOL,
        }
    }
}

impl Handshake {
    pub(super) fn of(protocol: Protocol, client: &HeaderMap) -> Result<Self, Unusable> {
        let needed = match protocol {
            Protocol::WebSocket => &[header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION][..],
            Protocol::Spdy => &[],
        };
        let needed = needed.iter().map(|name| {
            let value = only(client, name).ok_or_else(|| Unusable::NotOne(name.clone()))?;
            Ok((name.clone(), value.clone()))
        });
        let mut websocket = needed.collect::<Result<Vec<_>, _>>()?;
        if protocol == Protocol::WebSocket && client.contains_key(header::ORIGIN) {
            let origin = only(client, &header::ORIGIN).ok_or(Unusable::NotOne(header::ORIGIN))?;
            websocket.push((header::ORIGIN, origin.clone()));
        }
        Ok(Self {
            protocol,
            websocket,
            offered: offered(client, &protocol.negotiation())?,
            is_accepted: false,
        })
    }

    /// The headers of a 101 that comes before the API server's. It is asked for no more than they promise from now on.
    /// None for a client that must not have it, and where the API server would find something to refuse.
    pub(super) fn accept(&mut self) -> Option<HeaderMap> {
        let chosen = self.offered.first()?.clone();
        let sent = |name| {
            let (_, value) = self.websocket.iter().find(|(known, _)| known == name)?;
            value.to_str().ok()
        };
        let key = sent(header::SEC_WEBSOCKET_KEY)?;
        let is_key = BASE64_STANDARD
            .decode(key)
            .is_ok_and(|key| key.len() == KEY_LENGTH);
        let is_ours = sent(header::SEC_WEBSOCKET_VERSION)? == "13" && is_key;
        if !is_ours || !has_status(chosen.as_bytes()) {
            return None;
        }
        let mut headers = self.switching();
        let accept = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            format!("{key}{ACCEPT_GUID}").as_bytes(),
        );
        let accept = HeaderValue::from_str(&BASE64_STANDARD.encode(accept)).ok()?;
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        let protocol = HeaderValue::from_str(&chosen).ok()?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        self.offered = vec![chosen];
        self.is_accepted = true;
        Some(headers)
    }

    fn switching(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, self.protocol.name());
        headers
    }

    /// Adds the upgrade to the headers of a request. Extensions are not asked for: Kubernetes uses none, and
    /// compressed messages could not be recorded.
    pub(in crate::proxy) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, self.protocol.name());
        for (name, value) in &self.websocket {
            headers.insert(name, value.clone());
        }
        for protocol in &self.offered {
            let value =
                HeaderValue::from_str(protocol).expect("`offered` takes visible ASCII alone");
            headers.append(self.protocol.negotiation(), value);
        }
    }

    /// The headers of our own 101, where the API server's is the answer to what was asked.
    pub(in crate::proxy) fn answer(&self, upstream: &HeaderMap) -> Result<HeaderMap, Foreign> {
        let switched =
            only(upstream, &header::UPGRADE).is_some_and(|value| self.protocol.is(value));
        if !switched {
            return Err(Foreign::Protocol);
        }
        if upstream.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(Foreign::Extensions);
        }
        let mut headers = self.switching();
        if let Some(accept) = only(upstream, &header::SEC_WEBSOCKET_ACCEPT) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
        }
        match self.chosen(upstream)? {
            Some(chosen) => {
                headers.insert(self.protocol.negotiation(), chosen.clone());
            }
            None if self.is_accepted => return Err(Foreign::NoSubprotocol),
            None => {}
        }
        Ok(headers)
    }

    /// The subprotocol of the answer: one of those that were offered, or none. The other kind's header is not ours
    /// to give on.
    fn chosen<'h>(&self, upstream: &'h HeaderMap) -> Result<Option<&'h HeaderValue>, Foreign> {
        let mut values = upstream.get_all(self.protocol.negotiation()).iter();
        let Some(chosen) = values.next() else {
            return Ok(None);
        };
        let was_offered = self
            .offered
            .iter()
            .any(|name| name.as_bytes() == chosen.as_bytes());
        if values.next().is_some() || !was_offered {
            return Err(Foreign::Subprotocol);
        }
        Ok(Some(chosen))
    }
}

#[cfg(test)]
impl Handshake {
    /// For tests of what comes after it.
    pub(in crate::proxy) fn in_test(client: &HeaderMap) -> Self {
        let protocol = Protocol::of(client).expect("a protocol that is served");
        Self::of(protocol, client).expect("a handshake that can be served")
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The protocols in all lines of a header; one that carries the client's credential is left out.
fn offered(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, Unusable> {
    let unusable = || Unusable::Protocols(name.clone());
    let mut offered = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| unusable())?;
        let names = line.split(',').map(str::trim);
        offered.extend(names.filter(|name| !name.is_empty() && !is_bearer_subprotocol(name)));
    }
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_graphic());
    if offered.len() > MOST_OFFERED || !offered.iter().all(is_name) {
        return Err(unusable());
    }
    Ok(offered.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
