//! A real HTTPS issuer on loopback, under a CA of its own.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

pub(super) struct TestIssuer {
    pub(super) url: String,
    state: Arc<State>,
    directory: TempDir,
    server: JoinHandle<()>,
}

struct State {
    address: SocketAddr,
    /// The `issuer` of the discovery document.
    announced: Mutex<String>,
    keys: Mutex<Value>,
    key_fetches: AtomicUsize,
}

impl TestIssuer {
    pub(super) async fn start(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let url = format!("https://{address}");
        let directory = tempfile::tempdir().expect("a directory");
        let (acceptor, ca) = tls();
        std::fs::write(directory.path().join("ca.pem"), ca).expect("written");
        let state = Arc::new(State {
            address,
            announced: Mutex::new(url.clone()),
            keys: Mutex::new(keys),
            key_fetches: AtomicUsize::new(0),
        });
        let server = tokio::spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self {
            url,
            state,
            directory,
            server,
        }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(super) fn rotate(&self, keys: Value) {
        *self.state.keys.lock().expect("no panic") = keys;
    }

    pub(super) fn announce(&self, issuer: &str) {
        *self.state.announced.lock().expect("no panic") = issuer.to_owned();
    }

    pub(super) fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }

    /// From here on connections are refused.
    pub(super) async fn stop(&mut self) {
        self.server.abort();
        assert!(
            (&mut self.server)
                .await
                .expect_err("aborted")
                .is_cancelled()
        );
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else {
                return;
            };
            let answer = service_fn(|request| {
                let answer = state.answer(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), answer)
                    .await,
            );
        });
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let document = match request.uri().path() {
            "/.well-known/openid-configuration" => json!({
                "issuer": *self.announced.lock().expect("no panic"),
                "jwks_uri": format!("https://{}/keys", self.address),
            }),
            "/keys" => {
                self.key_fetches.fetch_add(1, Ordering::SeqCst);
                self.keys.lock().expect("no panic").clone()
            }
            path => panic!("no one asks for {path}"),
        };
        Response::new(Full::from(document.to_string()))
    }
}

/// A server for 127.0.0.1 and the CA that it stands under.
fn tls() -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|leaf| leaf.signed_by(&key, &Issuer::new(ca, ca_key)))
        .expect("a leaf");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a certificate");
    (TlsAcceptor::from(Arc::new(config)), ca_pem)
}
