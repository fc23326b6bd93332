//! Gateways as the controller meets them: such that record, such that refuse, fall behind, or are not there.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    access::Attributes,
    gateways::Reach,
    outlet::Lines,
    person::Credential,
    recording::{Read, Recorder},
    refusal::Refusal,
    tail::Tail,
    *,
};
use crate::{
    config::controller::Places,
    identity::UserInfo,
    reply::{Reply, json as answer},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An authority, and files that it has signed.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        tls::install_provider();
        let site = Self(tempfile::tempdir().expect("a directory"));
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "internal");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        site.write("ca.crt", &params.self_signed(&key).expect("a CA").pem());
        let issuer = Issuer::new(params, key);
        for name in ["controller", "gateway"] {
            let mut leaf = CertificateParams::default();
            let dns = format!("{name}.sallyport.dev");
            leaf.subject_alt_names = vec![SanType::DnsName(dns.try_into().expect("a name"))];
            let key = KeyPair::generate().expect("a key");
            let signed = leaf.signed_by(&key, &issuer).expect("a leaf");
            site.write(&format!("{name}.crt"), &signed.pem());
            site.write(&format!("{name}.key"), &key.serialize_pem());
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn server(&self) -> ServerConfig {
        let read =
            |name: &str| CertificateDer::from_pem_file(self.path(name)).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(read("ca.crt")).expect("a root");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
        let key = PrivateKeyDer::from_pem_file(self.path("gateway.key")).expect("a key");
        ServerConfig::builder()
            .with_client_cert_verifier(verifier.expect("a verifier"))
            .with_single_cert(vec![read("gateway.crt")], key)
            .expect("a server")
    }

    /// A gateway of this authority.
    async fn gateway(
        &self,
        answer: impl Fn(Request<Incoming>) -> Reply + Clone + Send + Sync + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = TlsAcceptor::from(Arc::new(self.server()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let answered = answer(request);
                        async move { Ok::<_, Infallible>(answered) }
                    });
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let _ended = served.await;
                });
            }
        });
        address
    }

    fn gateways(&self, addresses: &[SocketAddr]) -> Arc<Gateways> {
        let config = crate::config::controller::Gateways {
            at: Places::Addresses(addresses.to_vec()),
            ca_file: self.path("ca.crt"),
            cert_file: self.path("controller.crt"),
            key_file: self.path("controller.key"),
        };
        Arc::new(Gateways::new(config, nobody()))
    }

    async fn reach(&self, addresses: &[SocketAddr]) -> Reach {
        self.gateways(addresses).reach().await.expect("gateways")
    }
}

/// An API server that answers nothing.
fn nobody() -> Client {
    let silent = tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    Client::new(silent, "default")
}

/// Where nothing listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

async fn record(site: &Site, addresses: &[SocketAddr]) -> Result<(), Refusal> {
    let user = UserInfo {
        username: "alice".to_owned(),
        ..UserInfo::default()
    };
    let attributes = attributes();
    let from = ("/v1/records", [127, 0, 0, 1].into());
    let read = Read::new(&user, &attributes, from, true, "");
    let reach = site.reach(addresses).await;
    Recorder::default().record(&reach, &read).await
}

fn attributes() -> Attributes {
    Attributes {
        verb: "watch",
        resource: "records",
        namespace: None,
        name: None,
    }
}

#[tokio::test]
async fn a_read_is_recorded_by_the_first_gateway_that_can() {
    let site = Site::new();
    let full = site
        .gateway(|_| {
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"message": "the log is full"}),
            )
        })
        .await;
    let (sender, mut taken) = mpsc::channel(1);
    let records = site
        .gateway(move |request| {
            let line = format!("{} {}", request.method(), request.uri());
            let _one = sender.try_send(line);
            answer(StatusCode::OK, &json!({"auditID": "1"}))
        })
        .await;
    let gone = nowhere().await;
    record(&site, &[gone, full, records])
        .await
        .expect("it is recorded");
    assert_eq!(taken.recv().await.as_deref(), Some("POST /v1/reads"));
}

#[tokio::test]
async fn without_a_gateway_that_records_it_is_refused_and_each_is_named() {
    let site = Site::new();
    let full = site
        .gateway(|_| {
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"message": "the log is full"}),
            )
        })
        .await;
    let lies = site.gateway(|_| answer(StatusCode::OK, &json!({}))).await;
    let another = Site::new()
        .gateway(|_| answer(StatusCode::OK, &json!({"auditID": "1"})))
        .await;
    let refusal = record(&site, &[full, lies, another])
        .await
        .expect_err("nothing is durable");
    assert_eq!(refusal.response().status(), 503);
    let said = refusal.to_string();
    for named in [full, lies, another] {
        assert!(said.contains(&named.to_string()), "{said}");
    }
    assert!(said.contains("the log is full"), "{said}");
    assert!(matches!(record(&site, &[]).await, Err(Refusal::NoGateway)));
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_is_named_beside_what_the_others_run() {
    let site = Site::new();
    let runs = site
        .gateway(|_| {
            answer(
                StatusCode::OK,
                &json!({"items": [{"auditID": "1", "kind": "watch"}]}),
            )
        })
        .await;
    let gone = nowhere().await;
    let reach = site.reach(&[gone, runs]).await;
    let listed: Value = serde_json::from_slice(&streams::list(&reach, None).await).expect("JSON");
    assert_eq!(listed["items"][0]["gateway"], runs.to_string());
    assert_eq!(listed["unreachable"][0]["gateway"], gone.to_string());
}

#[tokio::test]
async fn a_stream_is_ended_where_it_runs() {
    let site = Site::new();
    let here = site
        .gateway(|request| {
            let is_end =
                request.method() == Method::DELETE && request.uri().path() == "/v1/streams/1";
            answer(
                if is_end {
                    StatusCode::OK
                } else {
                    StatusCode::NOT_FOUND
                },
                &json!({"items": []}),
            )
        })
        .await;
    let elsewhere = site
        .gateway(|_| answer(StatusCode::NOT_FOUND, &json!({})))
        .await;
    let reach = site.reach(&[elsewhere, here]).await;
    let order = json!({"by": "alice", "via": "evidence-api", "reason": "incident"});
    let ended = streams::end(&reach, "1", None, &order)
        .await
        .expect("it runs");
    let ended: Value = serde_json::from_slice(&ended).expect("JSON");
    assert_eq!(
        ended,
        json!({"ended": [here.to_string()], "unreachable": []})
    );
    let refused = streams::end(&reach, "2", None, &order).await;
    assert!(matches!(refused, Err(Refusal::NoSuchStream(..))));
}

/// The answer of a gateway whose tail is these lines, and then silence.
fn tailing(lines: &'static str) -> Reply {
    let first = Ok::<_, Infallible>(Frame::data(Bytes::from_static(lines.as_bytes())));
    let body = stream::iter([first]).chain(stream::pending());
    Response::new(StreamBody::new(body).boxed_unsync())
}

fn follow(site: &Site, addresses: &[SocketAddr], namespace: Option<&str>) -> Lines {
    let tail = Tail {
        gateways: site.gateways(addresses),
        path: "/v1/records?follow=true".to_owned(),
        namespace: namespace.map(str::to_owned),
        standing: Standing {
            client: nobody(),
            credential: Credential::Certificate(UserInfo::default()),
            attributes: attributes(),
        },
        shutdown: CancellationToken::new(),
    };
    tail.start()
}

/// The next so many lines that are not empty, in an order that does not depend on who was first.
async fn lines(tail: &mut Lines, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    while found.len() < count {
        let line = timeout(PATIENCE, tail.recv())
            .await
            .expect("a line in time");
        let line = line.expect("it goes on");
        assert!(line.ends_with(b"\n"));
        found.extend(serde_json::from_slice::<Value>(&line).ok());
    }
    found.sort_by_key(Value::to_string);
    found
}

#[tokio::test]
async fn a_tail_is_of_all_gateways_and_names_the_one_that_is_missing() {
    let site = Site::new();
    let one = site.gateway(|_| tailing("{\"auditID\":\"1\"}\n\n")).await;
    let two = site.gateway(|_| tailing("{\"auditID\":\"2\"}\n")).await;
    let gone = nowhere().await;
    let mut tail = follow(&site, &[one, gone, two], None);
    let found = lines(&mut tail, 5).await;
    assert_eq!(
        found[..2],
        [json!({"auditID": "1"}), json!({"auditID": "2"})]
    );
    let followed = [&found[2], &found[3]].map(|line| line["following"]["gateway"].clone());
    assert!(
        [one, two]
            .iter()
            .all(|gateway| followed.contains(&json!(gateway.to_string())))
    );
    assert_eq!(found[4]["unreachable"]["gateway"], gone.to_string());
}

#[tokio::test]
async fn a_tail_of_a_namespace_shows_no_other_and_says_where_it_has_a_gap() {
    let site = Site::new();
    let rows = "{\"auditID\":\"1\",\"objectRef\":{\"namespace\":\"bank\"}}\n\
                {\"auditID\":\"2\",\"objectRef\":{\"namespace\":\"shop\"}}\n\
                {\"error\":\"this reader fell behind\"}\n";
    let gateway = site.gateway(move |_| tailing(rows)).await;
    let mut tail = follow(&site, &[gateway], Some("shop"));
    let found = lines(&mut tail, 3).await;
    assert_eq!(found[0]["auditID"], "2");
    assert_eq!(found[1]["following"]["gateway"], gateway.to_string());
    assert_eq!(found[2]["unreachable"]["error"], "this reader fell behind");
}
