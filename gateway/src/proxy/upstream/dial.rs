//! Opens connections to the API server.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderValue, Uri, uri::Authority};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::UpstreamError;

/// For a connection, the wait for somebody else's attempt included.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The API server's address, and how it is verified.
pub(super) struct Dialer {
    host: String,
    authority: Authority,
    header: HeaderValue,
    name: ServerName<'static>,
    either: TlsConnector,
    http1: TlsConnector,
}

/// An open connection, of the protocol that the API server chose.
pub(super) enum Dialed {
    Http2(TlsStream<TcpStream>),
    Http1(TlsStream<TcpStream>),
}

/// No byte of the request has left; it is safe to repeat it.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    #[error("connecting took longer than {} s", CONNECT_PATIENCE.as_secs())]
    Timeout,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the HTTP/1.1 connection could not be opened: {0}")]
    Http1(#[from] hyper::Error),
    #[error("the HTTP/2 connection could not be opened: {0}")]
    Http2(#[from] h2::Error),
    #[error("the connection was closed before the request was sent")]
    Closed,
    #[error("the API server refused the stream each time, and says that it did nothing")]
    Refused,
    #[error("every connection is in use")]
    Exhausted,
    #[error("the gateway's credential for the API server could not be had: {0}")]
    Credential(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Dialer {
    pub(super) fn new(
        uri: &Uri,
        server_name: Option<&str>,
        tls: ClientConfig,
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
            authority: authority.clone(),
            header: HeaderValue::from_str(authority.as_str())
                .map_err(|_| UpstreamError::Address(uri.clone()))?,
            name: ServerName::try_from(verified.to_owned())
                .map_err(|_| UpstreamError::Host(verified.to_owned()))?,
            either: connector(&tls, &[b"h2", b"http/1.1"]),
            http1: connector(&tls, &[b"http/1.1"]),
        })
    }

    /// The `:authority` of HTTP/2.
    pub(super) fn authority(&self) -> Authority {
        self.authority.clone()
    }

    /// The `Host` of HTTP/1.1.
    pub(super) fn host(&self) -> HeaderValue {
        self.header.clone()
    }

    /// HTTP/2 where the API server speaks it.
    pub(super) async fn open(&self) -> Result<Dialed, ConnectError> {
        let stream = self.connect(&self.either).await?;
        Ok(match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Dialed::Http2(stream),
            _ => Dialed::Http1(stream),
        })
    }

    /// HTTP/1.1, which alone can be upgraded.
    pub(super) async fn open_http1(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        tokio::time::timeout(CONNECT_PATIENCE, self.connect(&self.http1))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    async fn connect(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, ConnectError> {
        let port = self.authority.port_u16().unwrap_or(443);
        let stream = TcpStream::connect((self.host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        Ok(tls.connect(self.name.clone(), stream).await?)
    }
}

fn connector(tls: &ClientConfig, protocols: &[&[u8]]) -> TlsConnector {
    let mut tls = tls.clone();
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(tls))
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}
