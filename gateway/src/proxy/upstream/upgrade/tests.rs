//! Against an API server that says what the test wants.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;
use crate::{
    identity::{Attributes, Identity, Provenance, UserInfo},
    policy::{Decision, PolicySet},
    request_info::RequestInfo,
};

const TARGET: &str = "/api/v1/namespaces/ns/pods/p/exec?command=true";

/// Answers the first request of each connection with the same bytes, then waits for its client to leave.
struct Liar {
    upstream: Upstream,
    connections: Arc<AtomicUsize>,
    /// Heads as they came.
    requests: mpsc::Receiver<String>,
    /// One for each connection that its client has closed.
    closed: mpsc::Receiver<()>,
}

impl Liar {
    async fn who_says(answer: &'static str) -> Self {
        crate::tls::install_provider();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let certified = certified.expect("a name and a key");
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
            certified.signing_key.serialize_der(),
        ));
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is the certificate's");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (heard, requests) = mpsc::channel(16);
        let (left, closed) = mpsc::channel(16);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let stream = acceptor.accept(stream).await.expect("our own client");
                tokio::spawn(speak(stream, answer, heard.clone(), left.clone()));
            }
        });
        Self {
            upstream: upstream(address, certificate.to_vec()),
            connections,
            requests,
            closed,
        }
    }

    async fn upgrade(&self, client: &HeaderMap) -> Result<Answer, SendError> {
        let handshake = Handshake::in_test(client);
        let (forward, user) = (get(TARGET, client), user());
        let sent = self
            .upstream
            .upgrade(permit(), forward, &handshake, ours(&user));
        sent.await
    }
}

async fn speak(
    mut stream: TlsStream<TcpStream>,
    answer: &'static str,
    heard: mpsc::Sender<String>,
    left: mpsc::Sender<()>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let head = String::from_utf8(head).expect("a head is text");
    heard.send(head).await.expect("the test runs");
    stream
        .write_all(answer.as_bytes())
        .await
        .expect("the client reads");
    stream.flush().await.expect("the client reads");
    if !answer.contains("\r\n\r\n") {
        return;
    }
    // Any way to leave is one.
    let _left = stream.read_to_end(&mut Vec::new()).await;
    left.send(()).await.expect("the test runs");
}

fn upstream(address: SocketAddr, root: Vec<u8>) -> Upstream {
    let uri = format!("https://{address}").parse().expect("a URI");
    let mut config = kube::Config::new(uri);
    config.root_cert = Some(vec![root]);
    Upstream::new(&config).expect("it names a server and its root")
}

fn get<'a>(target: &'a str, headers: &'a HeaderMap) -> Forward<'a> {
    Forward {
        method: Method::GET,
        target,
        headers,
        body: Bytes::new(),
        long_running: false,
    }
}

fn user() -> UserInfo {
    UserInfo {
        username: "sallyport:sa:ns:coder".to_owned(),
        ..UserInfo::default()
    }
}

fn ours(user: &UserInfo) -> Ours<'_> {
    Ours {
        authorization: None,
        user,
        audit_id: "0190-audit",
        client: Some([10, 0, 0, 7].into()),
    }
}

/// What an `Allow` of everything gives.
fn permit() -> Permit {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: p}\nspec:\n  \
        subjects: [{all: \"*\"}]\n  rules:\n  - {name: r, effect: Allow, verbs: [\"*\"], apiGroups: [\"*\"], \
        resources: [\"*\"], namespaces: [ns], names: [\"*\"]}\n";
    std::fs::write(directory.path().join("p.yaml"), policy).expect("room on disk");
    let policies = PolicySet::load(directory.path()).expect("it is valid");
    let request = RequestInfo::parse("GET", TARGET).expect("it is unambiguous");
    let identity = Identity {
        user: UserInfo::default(),
        upstream_user: UserInfo::default(),
        issuer: None,
        claims: Default::default(),
        workload: None,
        pod_agent: None,
        provenance: Provenance::default(),
        session_id: None,
    };
    let attributes = Attributes::new(&identity, &request);
    match policies.evaluate(&attributes) {
        Decision::Allow(permit) => permit,
        other => panic!("not allowed: {other:?}"),
    }
}

fn client() -> HeaderMap {
    let lines = [
        (header::AUTHORIZATION, "Bearer agent"),
        (header::CONNECTION, "Upgrade, Impersonate-User"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io"),
        (header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
        (header::COOKIE, "session=1"),
        (header::USER_AGENT, "kubectl"),
    ];
    lines
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect()
}

#[tokio::test]
async fn an_upgrade_is_sent_once_with_what_it_needs() {
    let mut liar =
        Liar::who_says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst").await;
    let Ok(Answer::Switched(switched)) = liar.upgrade(&client()).await else {
        panic!("it switched");
    };
    let head = liar.requests.recv().await.expect("a request");
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), format!("GET {TARGET} HTTP/1.1"));
    lines.retain(|line| !line.starts_with("host: 127.0.0.1:"));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "audit-id: 0190-audit",
            "connection: Upgrade",
            "impersonate-user: sallyport:sa:ns:coder",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-protocol: v5.channel.k8s.io",
            "sec-websocket-version: 13",
            "upgrade: websocket",
            "user-agent: kubectl",
            "x-forwarded-for: 10.0.0.7",
        ]
    );
    let mut first = [0; 5];
    let mut connection = TokioIo::new(switched.connection);
    connection
        .read_exact(&mut first)
        .await
        .expect("what came behind the head");
    assert_eq!(&first, b"first");
    drop(connection);
    liar.closed.recv().await.expect("its connection closes");
    assert_eq!(liar.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_101_is_an_answer_whose_connection_is_not_used_again() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let mut liar = Liar::who_says(refusal).await;
    for number in 1..=2 {
        let Ok(Answer::Response(response)) = liar.upgrade(&client()).await else {
            panic!("it is an answer");
        };
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let body = response.into_body().collect().await.expect("it is whole");
        assert_eq!(body.to_bytes(), "no");
        liar.closed.recv().await.expect("its connection closes");
        assert_eq!(liar.connections.load(SeqCst), number);
    }
    assert!(liar.upstream.pool.idle.take().is_none());
}

#[tokio::test]
async fn a_101_to_something_else_loses_the_call_and_the_connection() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    ] {
        let mut liar = Liar::who_says(answer).await;
        let lost = liar.upgrade(&client()).await.err();
        assert!(
            matches!(lost, Some(SendError::Lost(Lost::Foreign(_)))),
            "{answer}: {lost:?}"
        );
        liar.closed.recv().await.expect("its connection closes");
        assert_eq!(liar.connections.load(SeqCst), 1, "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_tried_again() {
    for answer in ["", "HTTP/1.1 101 Switching", "not HTTP at all\r\n\r\n"] {
        let mut liar = Liar::who_says(answer).await;
        let lost = liar.upgrade(&client()).await.err();
        assert!(
            matches!(lost, Some(SendError::Lost(Lost::Broken(_)))),
            "{answer}: {lost:?}"
        );
        liar.requests.recv().await.expect("one request");
        assert_eq!(liar.connections.load(SeqCst), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_no_answer() {
    let liar =
        Liar::who_says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").await;
    let headers = HeaderMap::new();
    let (forward, user) = (get("/version", &headers), user());
    let lost = liar
        .upstream
        .send(permit(), forward, ours(&user))
        .await
        .err();
    assert!(
        matches!(lost, Some(SendError::Lost(Lost::Foreign(Foreign::Unasked)))),
        "{lost:?}"
    );
}
