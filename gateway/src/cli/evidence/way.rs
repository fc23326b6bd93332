//! One request to the evidence API, on a connection of its own.

use std::sync::Arc;

use anyhow::Context;
use http::{Request, Response, Uri, header::HOST};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{controller::Controller, tunnel};
use crate::tls::CONTROLLER;

pub(super) enum Way {
    Direct { host: String, port: u16 },
    Forward(Controller),
}

impl Way {
    pub(super) fn direct(url: &Uri) -> anyhow::Result<Self> {
        let host = url.host().context("--server names no host")?;
        Ok(Self::Direct {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(443),
        })
    }

    pub(super) async fn send(
        &self,
        tls: Arc<ClientConfig>,
        request: Request<Body>,
    ) -> anyhow::Result<Response<Incoming>> {
        match self {
            Self::Direct { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))
                    .await
                    .with_context(|| format!("connecting to {host}, port {port}"))?;
                exchange(stream, host, tls, request).await
            }
            Self::Forward(controller) => {
                let (stream, trouble) = tunnel::open(controller).await?;
                let answer = exchange(stream, CONTROLLER, tls, request).await;
                answer.map_err(|error| match trouble.get() {
                    Some(trouble) => error.context(format!(
                        "the port-forward to {} ended: {trouble}; does its controller.yaml have evidence.listen on port {}?",
                        controller.pod, controller.port
                    )),
                    None => error,
                })
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    name: &str,
    tls: Arc<ClientConfig>,
    mut request: Request<Body>,
) -> anyhow::Result<Response<Incoming>> {
    let server = ServerName::try_from(name.to_owned()).context("--server names no host")?;
    let stream = TlsConnector::from(tls)
        .connect(server, stream)
        .await
        .with_context(|| format!("the TLS handshake with {name}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // The form that servers are sent (RFC 9112, 3.2.1).
    let authority = request.uri().authority().map(ToString::to_string);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().context("the path of a URI is one")?;
    let host = authority.unwrap_or_else(|| name.to_owned());
    request
        .headers_mut()
        .insert(HOST, host.parse().context("the host is no header value")?);
    Ok(sender.send_request(request).await?)
}
