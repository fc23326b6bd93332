use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::{Instant, timeout},
};

use self::server::{Asked, DATA, RST_STREAM, Server, Wire};
use super::*;
use crate::{
    identity::{Attributes, Identity, Provenance, UserInfo},
    policy::{Decision, PolicySet},
    request_info::RequestInfo,
};

mod going_away;
mod http1;
mod server;
mod windows;

const CONFIGMAPS: &str = "/api/v1/namespaces/team/configmaps";

/// A hang is a failure.
const LIMIT: Duration = Duration::from_secs(30);

type Sent = Result<Response<UpstreamBody>, SendError>;

/// One call of an agent, on its way.
struct Call {
    sent: JoinHandle<Sent>,
}

impl Call {
    fn post(upstream: &Arc<Upstream>, body: &str) -> Self {
        Self::start(upstream, Method::POST, CONFIGMAPS, body, false)
    }

    fn get(upstream: &Arc<Upstream>) -> Self {
        Self::start(upstream, Method::GET, CONFIGMAPS, "", false)
    }

    fn watch(upstream: &Arc<Upstream>) -> Self {
        let watch = format!("{CONFIGMAPS}?watch=true");
        Self::start(upstream, Method::GET, &watch, "", true)
    }

    fn start(
        upstream: &Arc<Upstream>,
        method: Method,
        target: &str,
        body: &str,
        long_running: bool,
    ) -> Self {
        let upstream = Arc::clone(upstream);
        let (target, body) = (target.to_owned(), Bytes::from(body.to_owned()));
        let sent = tokio::spawn(async move {
            let forward = Forward {
                method,
                target: &target,
                headers: &HeaderMap::new(),
                body,
                long_running,
            };
            let user = UserInfo {
                username: "sallyport:sa:team:coder".to_owned(),
                ..UserInfo::default()
            };
            let ours = Ours {
                authorization: None,
                user: &user,
                audit_id: "an-id",
                client: Some(IpAddr::from([127, 0, 0, 1])),
            };
            match upstream.send(permit(&target), forward, ours).await? {
                Answer::Response(response) => Ok(response),
                Answer::Switched(_) => panic!("no upgrade was asked for"),
            }
        });
        Self { sent }
    }

    async fn outcome(self) -> Sent {
        timeout(LIMIT, self.sent)
            .await
            .expect("the call ends")
            .expect("the call does not panic")
    }

    async fn answer(self) -> Response<UpstreamBody> {
        self.outcome().await.expect("an answer")
    }

    /// The outcome of a call that may have been carried out.
    async fn lost(self) -> Lost {
        match self.outcome().await.map(|response| response.status()) {
            Err(SendError::Lost(lost)) => lost,
            other => panic!("not an unknown outcome: {other:?}"),
        }
    }

    /// The outcome of a call that was certainly not carried out.
    async fn unsent(self) -> ConnectError {
        match self.outcome().await.map(|response| response.status()) {
            Err(SendError::NotSent(unsent)) => unsent,
            other => panic!("not an unsent call: {other:?}"),
        }
    }
}

/// A permit as the data path gets it: from the evaluation of a policy.
fn permit(target: &str) -> Permit {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = "apiVersion: sallyport.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: all}\nspec:\n  \
                  subjects: [{all: \"*\"}]\n  rules:\n  - {name: all, effect: Allow, verbs: [\"*\"], \
                  apiGroups: [\"*\"], resources: [\"*\"], namespaces: [\"*\"], names: [\"*\"]}\n";
    std::fs::write(directory.path().join("all.yaml"), policy).expect("a file");
    let policies = PolicySet::load(directory.path()).expect("a valid policy");
    let identity = Identity {
        user: UserInfo::default(),
        upstream_user: UserInfo::default(),
        issuer: None,
        claims: BTreeMap::new(),
        workload: None,
        pod_agent: None,
        provenance: Provenance::default(),
        session_id: None,
    };
    let request = RequestInfo::parse("GET", target).expect("an unambiguous target");
    let attributes = Attributes::new(&identity, &request);
    match policies.evaluate(&attributes) {
        Decision::Allow(permit) => permit,
        other => panic!("not allowed: {other:?}"),
    }
}

/// A call that shows what came before it: had anything been sent again, it would be seen first.
async fn assert_next_is_new(server: &Server, upstream: &Arc<Upstream>) {
    let sentinel = Call::post(upstream, "sentinel");
    let mut wire = server.connection().await;
    let asked = wire.request().await;
    assert_eq!(asked.body, "sentinel");
    wire.answer(asked.stream).await;
    sentinel.answer().await;
}

#[tokio::test]
async fn calls_share_a_connection_and_get_their_own_answers() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let first = Call::get(&upstream);
    let mut wire = server.connection().await;
    let one = wire.request().await;
    let second = Call::get(&upstream);
    let other = wire.request().await;
    assert_ne!(one.stream, other.stream);
    wire.answer(other.stream).await;
    second.answer().await;
    wire.answer(one.stream).await;
    first.answer().await;
}

#[tokio::test]
async fn a_refused_stream_is_opened_once_more_on_another_connection() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::post(&upstream, "paint");
    let mut first = server.connection().await;
    let refused = first.request().await;
    first
        .reset(refused.stream, h2::Reason::REFUSED_STREAM)
        .await;
    let mut second = server.connection().await;
    let asked = second.request().await;
    assert_eq!(asked.body, "paint");
    second.answer(asked.stream).await;
    call.answer().await;
    assert_eq!(first.next().await, None);
}

#[tokio::test]
async fn an_api_server_that_refuses_every_stream_is_not_asked_for_ever() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::post(&upstream, "paint");
    for _ in 0..ATTEMPTS {
        let mut wire = server.connection().await;
        let stream = wire.request().await.stream;
        wire.reset(stream, h2::Reason::REFUSED_STREAM).await;
    }
    assert!(matches!(call.unsent().await, ConnectError::Refused));
}

#[tokio::test]
async fn a_stream_that_is_reset_before_its_answer_leaves_an_unknown_outcome() {
    for reason in [
        h2::Reason::CANCEL,
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::NO_ERROR,
        h2::Reason::ENHANCE_YOUR_CALM,
    ] {
        let server = Server::http2().await;
        let upstream = server.upstream();
        let call = Call::post(&upstream, "paint");
        let mut wire = server.connection().await;
        let stream = wire.request().await.stream;
        wire.reset(stream, reason).await;
        call.lost().await;
        // The connection is as good as before.
        let sentinel = Call::post(&upstream, "sentinel");
        let asked = wire.request().await;
        assert_eq!(asked.body, "sentinel", "{reason:?}");
        wire.answer(asked.stream).await;
        sentinel.answer().await;
    }
}

#[tokio::test]
async fn a_connection_cut_after_the_request_leaves_an_unknown_outcome() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::post(&upstream, "paint");
    let mut wire = server.connection().await;
    wire.request().await;
    drop(wire);
    assert!(matches!(call.lost().await, Lost::Broken(_)));
    assert_next_is_new(&server, &upstream).await;
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut wire = server.connection().await;
    let stream = wire.request().await.stream;
    wire.answer(stream).await;
    call.answer().await;
    drop(wire);
    // The pool sees the end as the next call would.
    let closed = || upstream.pool.connections() == 0;
    timeout(LIMIT, async {
        while !closed() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the end is seen");
    assert_next_is_new(&server, &upstream).await;
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut wire = server.connection().await;
    let stream = wire.request().await.stream;
    // `:status: 103` as a literal with the name at index 8 (RFC 7541, section 6.2.2).
    wire.write(server::HEADERS, 4, stream, b"\x08\x03103").await;
    wire.answer(stream).await;
    assert_eq!(call.answer().await.status(), 200);
}

#[tokio::test]
async fn more_calls_than_a_connection_takes_open_more_connections_and_none_is_refused() {
    const CALLS: usize = 20;
    const TAKEN: u32 = 3;
    let server = Server::http2().await;
    let upstream = server.upstream();
    let calls: Vec<_> = (0..CALLS).map(|_| Call::get(&upstream)).collect();
    let mut held: Vec<(Wire, Vec<Asked>)> = Vec::new();
    let mut seen = 0;
    while seen < CALLS {
        let mut wire = server.connection_of(TAKEN).await;
        let expected = (CALLS - seen).min(TAKEN as usize);
        let mut asked = Vec::new();
        for _ in 0..expected {
            asked.push(wire.request().await);
        }
        seen += expected;
        held.push((wire, asked));
    }
    for (wire, asked) in &mut held {
        for request in asked {
            wire.answer(request.stream).await;
        }
    }
    for call in calls {
        call.answer().await;
    }
}

#[tokio::test]
async fn the_ninety_first_call_opens_a_second_connection() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let mut calls = vec![Call::get(&upstream)];
    let mut first = server.connection().await;
    let mut streams = vec![first.request().await.stream];
    for _ in 1..90 {
        calls.push(Call::get(&upstream));
        streams.push(first.request().await.stream);
    }
    let last = Call::get(&upstream);
    let mut second = server.connection().await;
    let stream = second.request().await.stream;
    second.answer(stream).await;
    last.answer().await;
    for stream in streams {
        first.answer(stream).await;
    }
    for call in calls {
        call.answer().await;
    }
}

#[tokio::test]
async fn long_running_calls_have_connections_of_their_own() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let watch = Call::watch(&upstream);
    let mut watches = server.connection().await;
    let watched = watches.request().await;
    let call = Call::get(&upstream);
    let mut others = server.connection().await;
    let asked = others.request().await;
    others.answer(asked.stream).await;
    call.answer().await;
    watches.answer(watched.stream).await;
    watch.answer().await;
}

/// What holds the last byte back until the outcome is recorded goes by frames.
#[tokio::test]
async fn an_empty_frame_at_the_end_of_an_answer_is_no_frame() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    for watches in [false, true] {
        let call = if watches {
            Call::watch(&upstream)
        } else {
            Call::get(&upstream)
        };
        let mut wire = server.connection().await;
        let stream = wire.request().await.stream;
        wire.begin(stream).await;
        wire.write(DATA, 0, stream, b"all of it").await;
        wire.write(DATA, 0, stream, b"").await;
        wire.end(stream).await;
        let mut body = call.answer().await.into_body();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.expect("a whole answer").into_data().expect("data"));
        }
        assert_eq!(frames, ["all of it"], "{watches}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_is_reset() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut wire = server.connection().await;
    let stream = wire.request().await.stream;
    wire.begin(stream).await;
    drop(call.answer().await);
    wire.wait_for(RST_STREAM, stream).await;

    let abandoned = Call::get(&upstream);
    let stream = wire.request().await.stream;
    abandoned.sent.abort();
    wire.wait_for(RST_STREAM, stream).await;
}

#[tokio::test]
async fn a_dead_connection_is_found_by_a_ping_that_nobody_answers() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    let call = Call::watch(&upstream);
    let mut wire = server.connection().await;
    let stream = wire.request().await.stream;
    wire.begin(stream).await;
    let mut body = call.answer().await.into_body();

    tokio::time::pause();
    let silent = Instant::now();
    // Nothing is read from now on, so nothing is answered.
    body.frame()
        .await
        .expect("an end")
        .expect_err("a dead connection has no more to say");
    assert!(
        silent.elapsed() <= Duration::from_secs(46),
        "{:?}",
        silent.elapsed()
    );
    drop(wire);
}

#[tokio::test]
async fn callers_who_wait_for_a_connection_that_does_not_open_wait_no_longer_than_one() {
    let server = Server::http2().await;
    let upstream = server.upstream();
    tokio::time::pause();
    let begun = Instant::now();
    // The listener's queue takes them, and nobody speaks TLS.
    let calls: Vec<_> = (0..50).map(|_| Call::get(&upstream)).collect();
    for call in calls {
        assert!(matches!(call.unsent().await, ConnectError::Timeout));
    }
    assert_eq!(begun.elapsed().as_secs(), dial::CONNECT_PATIENCE.as_secs());
}

#[tokio::test]
async fn what_stands_under_a_path_of_its_own_is_asked_there() {
    let mut server = Server::http2().await;
    let url = format!("{}k8s/clusters/x/", server.config.cluster_url);
    server.config.cluster_url = url.parse().expect("an address");
    let upstream = server.upstream();
    let call = Call::get(&upstream);
    let mut serving = h2::server::handshake(server.accept().await)
        .await
        .expect("a connection");
    let (request, mut respond) = serving
        .accept()
        .await
        .expect("a request")
        .expect("a whole head");
    assert_eq!(
        request.uri().path(),
        "/k8s/clusters/x/api/v1/namespaces/team/configmaps"
    );
    assert_eq!(
        request.uri().authority(),
        server.config.cluster_url.authority()
    );
    respond
        .send_response(Response::new(()), true)
        .expect("the stream is open");
    let serving = tokio::spawn(async move { serving.accept().await.is_none() });
    call.answer().await;
    drop(upstream);
    assert!(serving.await.expect("no panic"), "another request came");
}
