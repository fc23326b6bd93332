//! HTTP/1.1 and HTTP/2 as a client library speaks them, with every byte of the answer at hand.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::raw::{Response, tls};

/// A hang is a failure of the test, not of the whole run.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// One server as one caller meets it. HTTP/2 calls share a connection; an HTTP/1.1 call has its own.
pub struct Wire {
    protocol: Protocol,
    authority: String,
    tls: Arc<ClientConfig>,
    headers: Vec<(String, String)>,
    shared: Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

/// A request as a client would write it.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// An answer whose head has come.
pub struct Answer {
    /// Without the body.
    pub head: Response,
    body: Incoming,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn accepting(self, media_type: &str) -> Self {
        self.with_header("accept", media_type)
    }

    pub fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with_header("content-type", content_type)
    }
}

impl Wire {
    /// `ca` and `identity` (certificate, key) are PEM text.
    pub fn new(
        protocol: Protocol,
        url: &str,
        ca: &[u8],
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<Self> {
        let authority = url
            .strip_prefix("https://")
            .context("the URL is not https")?;
        let mut tls = tls(ca, identity)?;
        tls.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            protocol,
            authority: authority.trim_end_matches('/').to_owned(),
            tls: Arc::new(tls),
            headers: Vec::new(),
            shared: Mutex::new(None),
        })
    }

    /// With a header on every call.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The whole answer.
    pub async fn call(&self, call: &Call) -> Result<Response> {
        self.start(call).await?.response().await
    }

    /// Sends a request and waits for the answer's head.
    pub async fn start(&self, call: &Call) -> Result<Answer> {
        let what = || format!("{} {}", call.method, call.target);
        let sent = timeout(LIMIT, self.send(call)).await;
        let answer = sent.with_context(what)?.with_context(what)?;
        let (head, body) = answer.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let head = Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: Vec::new(),
        };
        Ok(Answer { head, body })
    }

    async fn send(&self, call: &Call) -> Result<http::Response<Incoming>> {
        let request = self.request(call)?;
        match self.protocol {
            Protocol::Http1 => {
                let io = TokioIo::new(self.connect().await?);
                let (mut sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
            Protocol::Http2 => Ok(self.shared().await?.send_request(request).await?),
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(call.method.as_str());
        request = match self.protocol {
            Protocol::Http1 => request
                .uri(call.target.as_str())
                .header(header::HOST, &self.authority),
            Protocol::Http2 => request.uri(format!("https://{}{}", self.authority, call.target)),
        };
        let headers = self.headers.iter().chain(&call.headers);
        let request = headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        Ok(request.body(Full::new(call.body.clone()))?)
    }

    /// The connection that all calls share; a new one where the last has ended.
    async fn shared(&self) -> Result<http2::SendRequest<Full<Bytes>>> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        *shared = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let (host, _) = self
            .authority
            .rsplit_once(':')
            .context("the URL names no port")?;
        let name = ServerName::try_from(host.to_owned())?;
        let socket = TcpStream::connect(&self.authority).await?;
        socket.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(connector.connect(name, socket).await?)
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end, an error where it broke off before.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = timeout(LIMIT, self.body.frame()).await? {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The answer with its body, up to its end.
    pub async fn response(mut self) -> Result<Response> {
        while let Some(data) = self.next().await? {
            self.head.body.extend_from_slice(&data);
        }
        Ok(self.head)
    }
}
