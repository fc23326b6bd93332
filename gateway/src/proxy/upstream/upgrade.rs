//! An upgrade: a connection of its own, one attempt, and nothing taken over but what was asked for.

use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::{self, Upgraded};

use super::{ConnectError, Forward, Lost, SendError, Upstream, UpstreamBody, headers::Ours, idle};
use crate::{
    policy::Permit,
    proxy::upgrade::{Foreign, Handshake},
};

/// How the API server answered.
pub(in crate::proxy) enum Answer {
    Response(Response<UpstreamBody>),
    Switched(Switched),
}

/// The API server has left HTTP, to the protocol that was asked for.
pub(in crate::proxy) struct Switched {
    /// Of its 101, what the client may have.
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) connection: Upgraded,
}

impl Answer {
    /// The answer to a request that asked for no upgrade.
    pub(super) fn plain(response: Response<UpstreamBody>) -> Result<Self, Lost> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Foreign::Unasked.into());
        }
        Ok(Self::Response(response))
    }
}

impl Upstream {
    /// Sends the call once, on a new connection that is never used for another: what answers with anything but
    /// 101 is still speaking HTTP, and to whom is not certain (CVE-2018-1002105).
    pub(in crate::proxy) async fn upgrade(
        &self,
        _permit: Permit,
        forward: Forward<'_>,
        handshake: &Handshake,
        mut ours: Ours<'_>,
    ) -> Result<Answer, SendError> {
        ours.authorization = self.credential.authorization().await?;
        let mut outgoing = self.outgoing(&forward, &ours)?;
        handshake.ask(&mut outgoing.headers);
        let mut sender = idle::handshake(self.pool.dialer.open_http1().await?).await?;
        let request = outgoing.http1(&self.pool.dialer, &forward);
        let sent = sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(_) => SendError::NotSent(ConnectError::Closed),
            None => Lost::Broken(error.into_error().into()).into(),
        })?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = |incoming| UpstreamBody::http1(incoming, sender, None);
            return Ok(Answer::Response(response.map(body)));
        }
        let headers = handshake
            .answer(response.headers())
            .map_err(Lost::Foreign)?;
        let connection = upgrade::on(response).await;
        Ok(Answer::Switched(Switched {
            headers,
            connection: connection.map_err(|error| Lost::Broken(error.into()))?,
        }))
    }
}

#[cfg(test)]
mod tests;
