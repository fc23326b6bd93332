//! Calls that leave HTTP behind: what may be upgraded, and what becomes of the connection then.
//!
//! An upgrade is a call like any other up to the API server's 101: authenticated, recorded, judged, sent once for a
//! permit. Then bytes pass as they are in both directions until one side ends, or the call may no longer be, and the
//! outcome is recorded before the client sees the end. A terminal that people must decide on may have its own 101 before.
//! A tap reads along what a program says.

use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::{
    attendant::{Accepted, KEPT, Notice, Screen},
    early::ClientEnd,
    handshake::{Foreign, Handshake, Unusable},
    tap::Heard,
};
use self::{farewell::Messages, handshake::Protocol, tap::Tap, tunnel::Tunnel};
use super::{
    arrival::Arrival,
    follow::FollowedBody,
    recording::Recording,
    rejection::Rejection,
    request_body::RequestBody,
    revocation::{Ending, Running},
    upstream::Switched,
    warning,
};
use crate::{
    config::{self, Upgradable},
    request_info::RequestInfo,
};

mod attendant;
mod client;
mod client_frames;
mod early;
mod farewell;
mod handshake;
mod splice;
mod tap;
mod tunnel;

/// The upgraded connections of this gateway.
pub(super) struct Upgrades {
    allowed: Vec<Upgradable>,
    idle: Duration,
    record_stdin: bool,
    ending: CancellationToken,
    open: TaskTracker,
}

/// Where an upgrade is asked for, as far as it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// exec, attach and port-forward of pods.
    Stream,
    Configured(Upgradable),
    /// kube-apiserver answers as if no upgrade had been asked for.
    Elsewhere,
}

impl Upgrades {
    pub(super) fn new(config: &config::Upgrades) -> Self {
        Self {
            allowed: config.allow.clone(),
            idle: config.idle.0,
            record_stdin: config.record_stdin,
            ending: CancellationToken::new(),
            open: TaskTracker::new(),
        }
    }

    /// The upgrade that the call asks for. `None` where there is none or the API server would ignore it: such a
    /// call goes on without.
    pub(super) fn asked(
        &self,
        arrival: &Arrival,
        info: &RequestInfo,
        body: &RequestBody,
    ) -> Result<Option<Handshake>, Rejection> {
        let headers = &arrival.headers;
        if arrival.version != Version::HTTP_11
            || !handshake::is_asked(headers)
            || !self.is_taken(Place::of(info), headers)?
        {
            return Ok(None);
        }
        if !body.bytes.is_empty() {
            return Err(Unusable::Body.into());
        }
        let protocol = Protocol::of(headers)?;
        check_method(protocol, &arrival.method)?;
        Ok(Some(Handshake::of(protocol, headers)?))
    }

    /// Whether the API server would upgrade here. An error where it would, but must not.
    fn is_taken(&self, place: Place, headers: &HeaderMap) -> Result<bool, Rejection> {
        match place {
            Place::Stream => Ok(true),
            Place::Elsewhere => Ok(false),
            // Only WebSocket gives these another form.
            Place::Configured(Upgradable::Watch | Upgradable::PodLog)
                if !handshake::names_websocket(headers) =>
            {
                Ok(false)
            }
            Place::Configured(what) if self.allowed.contains(&what) => Ok(true),
            Place::Configured(what) => Err(Rejection::UpgradeNotAllowed {
                what: what.as_str(),
            }),
        }
    }

    /// Gives a client its 101 while its call is still to be decided, and sees to both.
    pub(super) fn attend<T: Send + 'static>(
        &self,
        accepted: Accepted,
        call: BoxFuture<'static, Result<T, Rejection>>,
    ) -> Response<FollowedBody> {
        let ending = self.ending.clone().cancelled_owned();
        self.open.spawn(accepted.attendant.run(call, ending));
        switching(accepted.headers)
    }

    /// Gives the client the API server's 101, unless it has one, and the connection what it asked for.
    pub(super) async fn take_over(
        &self,
        mut recording: Recording,
        switched: Switched,
        client: ClientEnd,
        mut running: Running,
    ) -> Result<Response<FollowedBody>, Rejection> {
        let Switched {
            headers,
            connection,
        } = switched;
        recording.answering(StatusCode::SWITCHING_PROTOCOLS);
        if let Err(error) = recording.intended().await {
            let rejection = Rejection::AnswerNotRecorded(error);
            recording.unrecorded(&rejection);
            return Err(rejection);
        }
        let idle = running.idle().map_or(self.idle, |idle| idle.min(self.idle));
        let last_words = recording.approved().map(warning::allowed);
        let last_words = last_words.map(|text| format!("sallyport: {text}"));
        let peer = client.peer();
        let tap = Tap::of(&recording, &headers, self.record_stdin);
        let tunnel = Tunnel::new(recording, connection, peer, idle, tap);
        running.counts(tunnel.counters());
        let (drained, gone) = (self.ending.clone().cancelled_owned(), peer.origin.gone());
        let stop = async move {
            tokio::select! {
                ending = running.ends(drained) => ending,
                () = gone => Ending::PodGone,
            }
        };
        let messages = Messages::of(&headers);
        let client = client.open(last_words);
        let client = async { client.await.map(|client| client.told(messages)) };
        self.open.spawn(tunnel.run(client, stop));
        Ok(switching(headers))
    }

    /// Ends what is still open, and waits until its outcome is recorded.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl Place {
    fn of(info: &RequestInfo) -> Self {
        if !info.is_resource_request {
            return Self::Elsewhere;
        }
        let core = info.api_group.is_empty();
        match (info.resource.as_str(), info.subresource.as_str()) {
            ("pods", "attach" | "exec" | "portforward") if core => Self::Stream,
            ("pods", "log") if core => Self::Configured(Upgradable::PodLog),
            ("pods", "proxy") if core => Self::Configured(Upgradable::PodProxy),
            ("services", "proxy") if core => Self::Configured(Upgradable::ServiceProxy),
            ("nodes", "proxy") if core => Self::Configured(Upgradable::NodeProxy),
            _ if info.verb == "watch" => Self::Configured(Upgradable::Watch),
            _ => Self::Elsewhere,
        }
    }
}

fn switching(headers: HeaderMap) -> Response<FollowedBody> {
    let mut response = Response::new(FollowedBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

fn check_method(protocol: Protocol, method: &Method) -> Result<(), Unusable> {
    match (protocol, method) {
        (_, &Method::GET) | (Protocol::Spdy, &Method::POST) => Ok(()),
        _ => Err(Unusable::Method(method.clone())),
    }
}

#[cfg(test)]
mod tests;
