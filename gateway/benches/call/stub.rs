//! An API server that answers every request with one pod, so that what is measured is not it.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{client::Server, objects};

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    certificate: rcgen::Certificate,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key and its certificate");
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls))));
        Self {
            address,
            certificate: made.cert,
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn server(&self) -> Server {
        let root: CertificateDer<'static> = self.certificate.der().clone();
        Server::new(self.address, root, "direct")
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor) {
    let pod = Bytes::from(objects::pod(1).to_string());
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        let (tls, pod) = (tls.clone(), pod.clone());
        tokio::spawn(async move {
            // A client that goes away is not what is measured.
            let Ok(stream) = tls.accept(socket).await else {
                return;
            };
            let service = service_fn(move |_: Request<Incoming>| answer(pod.clone()));
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(pod: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(pod));
    Ok(response.expect("a response"))
}
