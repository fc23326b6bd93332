//! Connections to the API server, HTTP/1.1: one call at a time each, kept for the next.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Response, Uri};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use tower::BoxError;

use super::UpstreamError;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Below the API server's own idle timeout, so that it is mostly us who close.
const IDLE_AGE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 64;

type Sender = SendRequest<Full<Bytes>>;

pub(super) struct Pool {
    host: String,
    port: u16,
    header: HeaderValue,
    name: ServerName<'static>,
    tls: TlsConnector,
    idle: Arc<Idle>,
    connections: TaskTracker,
}

type Idle = Mutex<Vec<(Instant, Sender)>>;

/// No byte of the request has left; it is safe to repeat it.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("connecting took longer than {} s", CONNECT_PATIENCE.as_secs())]
    Timeout,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the HTTP connection could not be opened: {0}")]
    Http(#[from] hyper::Error),
    #[error("the connection was closed before the request was sent")]
    Closed,
    #[error("the gateway's credential for the API server could not be had: {0}")]
    Credential(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Pool {
    pub(super) fn new(
        uri: &Uri,
        server_name: Option<&str>,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, UpstreamError> {
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(UpstreamError::Address(uri.clone()));
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let verified = server_name.unwrap_or(host);
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(443),
            header: HeaderValue::from_str(authority.as_str())
                .map_err(|_| UpstreamError::Address(uri.clone()))?,
            name: ServerName::try_from(verified.to_owned())
                .map_err(|_| UpstreamError::Host(verified.to_owned()))?,
            tls: TlsConnector::from(tls),
            idle: Arc::default(),
            connections: TaskTracker::new(),
        })
    }

    pub(super) fn host(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The connection that was used last, if one is still open.
    pub(super) async fn idle(&self) -> Option<Sender> {
        loop {
            let (since, mut sender) = lock(&self.idle).pop()?;
            if since.elapsed() < IDLE_AGE && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    pub(super) async fn connect(&self) -> Result<Sender, ConnectError> {
        tokio::time::timeout(CONNECT_PATIENCE, self.open())
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    async fn open(&self) -> Result<Sender, ConnectError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.name.clone(), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API server ended");
            }
        });
        Ok(sender)
    }

    /// Ties the connection to the response's body: it returns to the pool when the body has ended.
    pub(super) fn follow(
        &self,
        sender: Sender,
        response: Response<Incoming>,
    ) -> Response<UpstreamBody> {
        let idle = Arc::clone(&self.idle);
        response.map(|incoming| {
            let mut body = UpstreamBody {
                incoming: Either::Left(incoming),
                lease: Some((sender, idle)),
            };
            body.settle();
            body
        })
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The body of an answer. Dropped before its end, it closes the connection.
pub(in crate::proxy) struct UpstreamBody {
    incoming: Either<Incoming, Full<Bytes>>,
    lease: Option<(Sender, Arc<Idle>)>,
}

impl UpstreamBody {
    /// An answer that was read whole before it goes on.
    pub(in crate::proxy) fn whole(bytes: Bytes) -> Self {
        Self {
            incoming: Either::Right(Full::new(bytes)),
            lease: None,
        }
    }

    fn settle(&mut self) {
        if !self.incoming.is_end_stream() {
            return;
        }
        if let Some((sender, idle)) = self.lease.take() {
            let mut idle = lock(&idle);
            if idle.len() < MOST_IDLE {
                idle.push((Instant::now(), sender));
            }
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.settle();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn lock(idle: &Idle) -> std::sync::MutexGuard<'_, Vec<(Instant, Sender)>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
