//! The only way to the API server, and a permit is its price: a [`Permit`] for what an agent asked, and for what a
//! decision depends on, a [`LookupPermit`] or a [`DryRunPermit`].

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, header,
    uri::{PathAndQuery, Scheme},
};
use http_body_util::Full;
use kube::client::ConfigExt;

use self::{
    credential::Credential,
    dial::Dialer,
    idle::Sender,
    lane::Slot,
    pool::{Lease, Pool},
};
use super::{
    headers::{self, Ours, Violation},
    upgrade::Foreign,
};
use crate::policy::{DryRunPermit, LookupPermit, Permit};

mod body;
mod credential;
mod dial;
mod gather;
mod idle;
mod lane;
mod pool;
mod upgrade;

pub(super) use self::{
    body::UpstreamBody,
    dial::ConnectError,
    upgrade::{Answer, Switched},
};

/// kube-apiserver answers within 60 s what is not long-running. What is may keep its head back for as long as a
/// backend behind a proxy subresource does.
const HEAD_PATIENCE: Duration = Duration::from_secs(90);

/// How often a call is tried that certainly did not reach the API server. A server that goes down refuses the
/// streams of every connection it had.
const ATTEMPTS: usize = 4;

/// The API server, its trust and the gateway's credential for it.
#[derive(Debug)]
pub struct Upstream {
    pool: Pool,
    credential: Credential,
    /// A path in front of every request, as in `https://proxy/k8s/clusters/x`; empty mostly.
    base_path: String,
}

/// What the agent asked for. Not `Debug`: the headers hold its credential.
pub(super) struct Forward<'a> {
    pub(super) method: Method,
    /// As the client wrote it: never parsed and built again.
    pub(super) target: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    /// Such calls have connections of their own.
    pub(super) long_running: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the upstream's TLS or credential configuration cannot be used")]
    Configuration(#[source] kube::Error),
    #[error("{0} is not an https address of an API server")]
    Address(Uri),
    #[error("{0} is not a host name that TLS can verify")]
    Host(String),
    #[error(
        "the kubeconfig says insecure-skip-tls-verify: the gateway's credential would go to whoever answers; \
         give certificate-authority-data instead"
    )]
    Unverified,
    #[error(
        "a proxy stands before the API server (proxy-url in the kubeconfig, or HTTPS_PROXY), and the gateway \
         does not speak to proxies: remove it, or unset the variable for the gateway"
    )]
    ThroughProxy,
}

/// Why there is no answer; what it means for the call differs.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("nothing was sent")]
    NotSent(#[from] ConnectError),
    #[error("the request broke the gateway's own rules")]
    Unsafe(#[from] Violation),
    #[error("the call may have been carried out")]
    Lost(#[from] Lost),
}

/// The request went out and no answer came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the connection to the API server broke")]
    Broken(#[source] tower::BoxError),
    #[error("the API server sent no answer within {} s", HEAD_PATIENCE.as_secs())]
    Silent,
    #[error("the API server switched to what was not asked for: {0}")]
    Foreign(#[from] Foreign),
}

impl Upstream {
    pub fn new(config: &kube::Config) -> Result<Self, UpstreamError> {
        if config.accept_invalid_certs {
            return Err(UpstreamError::Unverified);
        }
        if config.proxy_url.is_some() {
            return Err(UpstreamError::ThroughProxy);
        }
        let uri = &config.cluster_url;
        let mut tls = config
            .rustls_client_config()
            .map_err(UpstreamError::Configuration)?;
        tls.alpn_protocols.clear();
        let dialer = Dialer::new(uri, config.tls_server_name.as_deref(), tls)?;
        Ok(Self {
            pool: Pool::new(dialer),
            credential: Credential::new(config.auth_layer().map_err(UpstreamError::Configuration)?),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends the call once. The permit is used up whatever happens.
    ///
    /// A connection may have closed meanwhile, or the API server may be leaving: what provably never reached it
    /// is tried again on another connection, and nothing else is.
    pub(super) async fn send(
        &self,
        _permit: Permit,
        forward: Forward<'_>,
        ours: Ours<'_>,
    ) -> Result<Answer, SendError> {
        let response = self.transmit(forward, ours).await?;
        Ok(Answer::plain(response)?)
    }

    /// Reads an object that a decision depends on.
    pub(super) async fn look_up(
        &self,
        _permit: LookupPermit,
        forward: Forward<'_>,
        ours: Ours<'_>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        self.transmit(forward, ours).await
    }

    /// Asks what a call would make of an object.
    pub(super) async fn dry_run(
        &self,
        _permit: DryRunPermit,
        forward: Forward<'_>,
        ours: Ours<'_>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        self.transmit(forward, ours).await
    }

    async fn transmit(
        &self,
        forward: Forward<'_>,
        mut ours: Ours<'_>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        ours.authorization = self.credential.authorization().await?;
        let mut unsent = ConnectError::Closed;
        for _ in 0..ATTEMPTS {
            let outgoing = self.outgoing(&forward, &ours)?;
            let attempt = match self.pool.lease(forward.long_running).await? {
                Lease::Http2(slot) => self.attempt_http2(slot, outgoing, &forward).await?,
                Lease::Http1(sender) => self.attempt_http1(sender, outgoing, &forward).await?,
            };
            match attempt {
                Attempt::Answered(response) => return Ok(response),
                Attempt::Unsent(why) => unsent = why,
            }
        }
        Err(unsent.into())
    }

    fn outgoing(&self, forward: &Forward<'_>, ours: &Ours<'_>) -> Result<Outgoing, Violation> {
        if !self.base_path.is_empty() && has_dot_segments(forward.target) {
            return Err(Violation::DotSegments);
        }
        let target = format!("{}{}", self.base_path, forward.target);
        Ok(Outgoing {
            target: PathAndQuery::try_from(target.as_str())
                .map_err(|_| Violation::Unwritable(target))?,
            headers: headers::upstream(forward.headers, ours)?,
        })
    }

    async fn attempt_http2(
        &self,
        slot: Slot,
        outgoing: Outgoing,
        forward: &Forward<'_>,
    ) -> Result<Attempt, Lost> {
        let request = outgoing.http2(&self.pool.dialer, forward);
        let answer = match slot.open(request, forward.body.clone()).await {
            Ok(answer) => answer,
            Err(error) => {
                self.pool.retire(&slot, forward.long_running);
                return Ok(Attempt::Unsent(error.into()));
            }
        };
        match patiently(forward, answer).await? {
            Ok(response) => {
                let (head, stream) = response.into_parts();
                let body = UpstreamBody::http2(stream, &head.headers, slot, forward.long_running);
                Ok(Attempt::Answered(Response::from_parts(head, body)))
            }
            Err(error) if was_not_processed(&error) => {
                self.pool.retire(&slot, forward.long_running);
                Ok(Attempt::Unsent(ConnectError::Refused))
            }
            Err(error) => Err(Lost::Broken(error.into())),
        }
    }

    /// hyper gives a request back only where not one byte of it was written.
    async fn attempt_http1(
        &self,
        mut sender: Sender,
        outgoing: Outgoing,
        forward: &Forward<'_>,
    ) -> Result<Attempt, Lost> {
        let request = outgoing.http1(&self.pool.dialer, forward);
        match patiently(forward, sender.try_send_request(request)).await? {
            Ok(response) => Ok(Attempt::Answered(response.map(|incoming| {
                UpstreamBody::http1(incoming, sender, Some(self.pool.idle.clone()))
            }))),
            Err(mut error) => match error.take_message() {
                Some(_) => Ok(Attempt::Unsent(ConnectError::Closed)),
                None => Err(Lost::Broken(error.into_error().into())),
            },
        }
    }
}

/// A request as it is sent, apart from how each protocol writes its first line.
struct Outgoing {
    target: PathAndQuery,
    headers: HeaderMap,
}

impl Outgoing {
    fn http2(self, dialer: &Dialer, forward: &Forward<'_>) -> Request<()> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(dialer.authority());
        uri.path_and_query = Some(self.target);
        let mut request = Request::new(());
        *request.method_mut() = forward.method.clone();
        *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
        *request.headers_mut() = self.headers;
        if !forward.body.is_empty() {
            let length = HeaderValue::from(forward.body.len());
            request.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        request
    }

    fn http1(self, dialer: &Dialer, forward: &Forward<'_>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(forward.body.clone()));
        *request.method_mut() = forward.method.clone();
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(header::HOST, dialer.host());
        request
    }
}

enum Attempt {
    Answered(Response<UpstreamBody>),
    Unsent(ConnectError),
}

async fn patiently<T>(forward: &Forward<'_>, answer: impl Future<Output = T>) -> Result<T, Lost> {
    if forward.long_running {
        return Ok(answer.await);
    }
    tokio::time::timeout(HEAD_PATIENCE, answer)
        .await
        .map_err(|_| Lost::Silent)
}

/// RFC 9113, section 8.7: a refused stream was not processed, nor was one above the last id of a GOAWAY, which
/// is what `h2` means by a stream that fails with the peer's GOAWAY.
fn was_not_processed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Only below a `proxy` subresource can there be any. The API server forwards them as they are; what stands
/// before it under a path of its own may not.
fn has_dot_segments(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.to_ascii_lowercase()
        .replace("%2e", ".")
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests;
