//! Terminals whose client has its 101 before people have decided, so that it can show what it waits for.
//!
//! Only kubectl is given it: it shows text of stderr at once and takes a `Status` on the error channel for the end,
//! as measured with 1.32 to 1.37. Python's client shows the text and reports a refusal as success, so for whoever else the
//! handshake is held and a refusal is a 403. What the client was promised is all that the API server is asked for then: of
//! its subprotocols the first, if that is one with such an error channel.

use std::{future::ready, mem, sync::Arc};

use futures_util::future::BoxFuture;
use http::header;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

use super::{
    Handshake,
    attendant::{Accepted, Attendant, Notice, Screen, Wanted},
    client::Client,
};
use crate::{
    proxy::{arrival::Arrival, budget::Room, channels::Channel, listener::Peer},
    request_info::{RequestInfo, parameters},
};

/// The client's connection, for a call that may ask to have it.
pub(in crate::proxy) struct ClientEnd {
    peer: Arc<Peer>,
    handshake: Option<Handshake>,
    state: State,
}

enum State {
    /// It waits for the head of an answer.
    Waits {
        client: OnUpgrade,
        accepted: oneshot::Sender<Accepted>,
    },
    /// It has one.
    Accepted(oneshot::Sender<Wanted>),
    Taken,
}

impl ClientEnd {
    /// And what resolves when it is answered early.
    pub(in crate::proxy) fn new(
        client: OnUpgrade,
        peer: &Arc<Peer>,
    ) -> (Self, oneshot::Receiver<Accepted>) {
        let (accepted, early) = oneshot::channel();
        let end = Self {
            peer: Arc::clone(peer),
            handshake: None,
            state: State::Waits { client, accepted },
        };
        (end, early)
    }

    pub(in crate::proxy) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// What the call asks to be upgraded to.
    pub(in crate::proxy) fn asks(&mut self, handshake: Option<Handshake>) {
        self.handshake = handshake;
    }

    pub(in crate::proxy) fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    pub(in crate::proxy) fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted(_))
    }

    /// Leaves nothing to be taken again.
    pub(in crate::proxy) fn take(&mut self) -> Self {
        Self {
            peer: Arc::clone(&self.peer),
            handshake: self.handshake.take(),
            state: mem::replace(&mut self.state, State::Taken),
        }
    }

    /// Resolves when the gateway goes down. A connection that has left HTTP is in no drain of HTTP any more.
    pub(in crate::proxy) fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        match self.is_accepted() {
            true => self.peer.going_down.draining(),
            false => self.peer.drain.draining(),
        }
    }

    /// Answers with a 101 of our own, where the client can be trusted with that.
    pub(in crate::proxy) fn accept(&mut self, screen: Screen, notice: Notice, room: Option<Room>) {
        let State::Waits { client, accepted } = mem::replace(&mut self.state, State::Taken) else {
            return;
        };
        let Some(headers) = self.handshake.as_mut().and_then(Handshake::accept) else {
            self.state = State::Waits { client, accepted };
            return;
        };
        let (want, wanted) = oneshot::channel();
        let attendant = Attendant {
            client,
            screen,
            notice,
            room,
            wanted,
            peer: Arc::clone(&self.peer),
        };
        // A client that has left is found gone where its answer is waited for.
        let _left = accepted.send(Accepted { headers, attendant });
        self.state = State::Accepted(want);
    }

    /// The connection, once it has left HTTP; none where the client is gone. `last_words` are for one that has waited.
    /// Who looks after that one is asked at once: it lets the client through when the call's part is over.
    pub(super) fn open(self, last_words: Option<String>) -> BoxFuture<'static, Option<Client>> {
        match self.state {
            State::Waits { client, .. } => {
                Box::pin(async move { client.await.ok().map(Client::new) })
            }
            State::Accepted(want) => {
                let (reply, client) = oneshot::channel();
                let _gone = want.send(Wanted { last_words, reply });
                Box::pin(async move { client.await.ok() })
            }
            State::Taken => Box::pin(ready(None)),
        }
    }
}

impl Screen {
    /// Where the client of this call shows text before the call runs. None where it would be taken for output, or would
    /// not be shown.
    pub(in crate::proxy) fn of(arrival: &Arrival, request: &RequestInfo) -> Option<Self> {
        let is_terminal = request.is_stream()
            && request.resource == "pods"
            && matches!(request.subresource.as_str(), "exec" | "attach");
        if !is_terminal || !is_kubectl(arrival) {
            return None;
        }
        let parameters = parameters(&arrival.target).ok()?;
        // Of several values the server takes the first, and what is not false is true.
        let is_true = |name: &str| {
            let value = parameters.iter().find(|(key, _)| key == name);
            value.is_some_and(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
        };
        match is_true("tty") {
            // There is no stderr, and lines of a terminal end so.
            true => is_true("stdout").then_some(Self::new(Channel::Stdout, "\r\n")),
            false => is_true("stderr").then_some(Self::new(Channel::Stderr, "\n")),
        }
    }
}

fn is_kubectl(arrival: &Arrival) -> bool {
    let agent = arrival.header(&header::USER_AGENT);
    agent.is_some_and(|agent| agent.starts_with("kubectl"))
}

#[cfg(test)]
mod tests;
