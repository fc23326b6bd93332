//! One connection and calls on it, over HTTP/1.1 and HTTP/2 alike.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{self, NAME};

/// An object of 2 KB.
pub(crate) const OBJECT: &str = "/api/v1/namespaces/shop/pods/web";
/// A list of 1 MB.
pub(crate) const LIST: &str = "/api/v1/pods";
/// A list of 20 MB.
pub(crate) const SECRETS: &str = "/api/v1/secrets";
/// An event of 2 KB every 2 ms.
pub(crate) const WATCH: &str = "/api/v1/pods?watch=true";
/// One event, then silence.
pub(crate) const QUIET_WATCH: &str = "/api/v1/namespaces/quiet/pods?watch=true";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What every client of the bench trusts.
pub(crate) struct Trust {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Trust {
    pub(crate) fn new(directory: &Path) -> Self {
        let config = |protocol| Arc::new(certificates::client_config(directory, protocol));
        Self {
            http1: config(certificates::HTTP1),
            http2: config(certificates::HTTP2),
        }
    }

    fn connector(&self, protocol: Protocol) -> TlsConnector {
        TlsConnector::from(Arc::clone(match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        }))
    }
}

pub(crate) struct Connection {
    sender: Sender,
    authorization: HeaderValue,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    #[error("{0}")]
    Refused(StatusCode),
}

impl Connection {
    pub(crate) async fn open(
        server: SocketAddr,
        trust: &Trust,
        protocol: Protocol,
        authorization: HeaderValue,
    ) -> Self {
        let socket = TcpStream::connect(server).await.expect("a server");
        socket.set_nodelay(true).expect("a socket");
        let name = NAME.try_into().expect("a name");
        let stream = trust.connector(protocol).connect(name, socket).await;
        let stream = TokioIo::new(stream.expect("a handshake"));
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) =
                    http2::handshake(executor, stream).await.expect("HTTP/2");
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Self {
            sender,
            authorization,
        }
    }

    /// The same connection for another call at the same time, which only HTTP/2 has.
    pub(crate) fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else {
            return None;
        };
        Some(Self {
            sender: Sender::Http2(sender.clone()),
            authorization: self.authorization.clone(),
        })
    }

    /// Begins a call; the body is still to be read.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Response<Incoming>, Failure> {
        let request = self.request(path);
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                response.into_body().collect().await?;
                Err(Failure::Refused(status))
            }
        }
    }

    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let request = match self.sender {
            Sender::Http1(_) => Request::get(path).header(header::HOST, NAME),
            Sender::Http2(_) => Request::get(format!("https://{NAME}{path}")),
        };
        request
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                "kubectl/v1.37.1 (linux/amd64) kubernetes/0000000",
            )
            .header(header::AUTHORIZATION, &self.authorization)
            .body(Empty::new())
            .expect("a request")
    }

    /// A whole call; gives the size of the body.
    pub(crate) async fn fetch(&mut self, path: &str) -> Result<usize, Failure> {
        let mut body = self.get(path).await?.into_body();
        let mut size = 0;
        while let Some(data) = next(&mut body).await? {
            size += data.len();
        }
        Ok(size)
    }
}

/// The next data of a body; `None` at its end.
pub(crate) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
