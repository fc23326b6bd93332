//! One connection and its calls, one after the other.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const PATH: &str = "/api/v1/namespaces/shop/pods/web";

/// Whom to call, and with which token.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: Arc<str>,
}

impl Server {
    pub(crate) fn new(address: SocketAddr, root: CertificateDer<'static>, token: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a certificate of ours");
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            tls: Arc::new(tls),
            token: token.into(),
        }
    }
}

pub(crate) struct Connection {
    send: SendRequest<Empty<Bytes>>,
    token: Arc<str>,
}

impl Connection {
    pub(crate) async fn open(server: &Server) -> Self {
        let socket = TcpStream::connect(server.address).await.expect("a server");
        socket.set_nodelay(true).expect("a socket");
        let tls = TlsConnector::from(Arc::clone(&server.tls));
        let name = "localhost".try_into().expect("a name");
        let stream = tls.connect(name, socket).await.expect("a handshake");
        let (send, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self {
            send,
            token: Arc::clone(&server.token),
        }
    }

    pub(crate) async fn get(&mut self) {
        let request = Request::get(PATH)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::new())
            .expect("a request");
        self.send.ready().await.expect("an open connection");
        let response = self.send.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(status, StatusCode::OK, "{:?}", body.to_bytes());
    }
}
