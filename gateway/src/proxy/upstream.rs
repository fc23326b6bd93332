//! The only way to the API server, and a [`Permit`] is its price.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use kube::client::ConfigExt;

use self::{credential::Credential, pool::Pool};
use super::headers::{self, Ours, Violation};
use crate::policy::Permit;

mod credential;
mod pool;

pub(super) use self::pool::{ConnectError, UpstreamBody};

/// kube-apiserver answers within 60 s what is not long-running, and sends the head of what is at once.
const HEAD_PATIENCE: Duration = Duration::from_secs(90);

type Outgoing = Request<Full<Bytes>>;

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
    Broken(#[from] hyper::Error),
    #[error("the API server sent no answer within {} s", HEAD_PATIENCE.as_secs())]
    Silent,
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
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            pool: Pool::new(uri, config.tls_server_name.as_deref(), Arc::new(tls))?,
            credential: Credential::new(config.auth_layer().map_err(UpstreamError::Configuration)?),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends the call once. The permit is used up whatever happens.
    pub(super) async fn send(
        &self,
        _permit: Permit,
        forward: Forward<'_>,
        ours: Ours<'_>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        let mut request = self.request(forward, ours).await?;
        // A pooled connection may have been closed meanwhile; hyper gives a request back only where
        // not one byte of it was written.
        while let Some(sender) = self.pool.idle().await {
            match attempt(sender, request, &self.pool).await? {
                Attempt::Answered(response) => return Ok(response),
                Attempt::Unsent(unsent) => request = *unsent,
            }
        }
        match attempt(self.pool.connect().await?, request, &self.pool).await? {
            Attempt::Answered(response) => Ok(response),
            Attempt::Unsent(_) => Err(ConnectError::Closed.into()),
        }
    }

    async fn request(&self, forward: Forward<'_>, ours: Ours<'_>) -> Result<Outgoing, SendError> {
        let authorization = self.credential.authorization().await?;
        let ours = Ours {
            authorization,
            ..ours
        };
        let mut request = Request::new(Full::new(forward.body));
        *request.method_mut() = forward.method;
        if !self.base_path.is_empty() && has_dot_segments(forward.target) {
            return Err(Violation::DotSegments.into());
        }
        let target = format!("{}{}", self.base_path, forward.target);
        *request.uri_mut() = target
            .parse()
            .map_err(|_| Violation::Unwritable(target.clone()))?;
        *request.headers_mut() = headers::upstream(forward.headers, &ours)?;
        request.headers_mut().insert(header::HOST, self.pool.host());
        Ok(request)
    }
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

enum Attempt {
    Answered(Response<UpstreamBody>),
    Unsent(Box<Outgoing>),
}

async fn attempt(
    mut sender: SendRequest<Full<Bytes>>,
    request: Outgoing,
    pool: &Pool,
) -> Result<Attempt, Lost> {
    let answer = tokio::time::timeout(HEAD_PATIENCE, sender.try_send_request(request));
    match answer.await.map_err(|_| Lost::Silent)? {
        Ok(response) => Ok(Attempt::Answered(pool.follow(sender, response))),
        Err(mut error) => match error.take_message() {
            Some(unsent) => Ok(Attempt::Unsent(Box::new(unsent))),
            None => Err(error.into_error().into()),
        },
    }
}
