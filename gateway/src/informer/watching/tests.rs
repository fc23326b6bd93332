use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::*;
use crate::{api::v1alpha1::agent_stop::AgentStop, informer};

/// What the API server does with one request.
#[derive(Clone, Copy)]
enum Does {
    /// One stop, of version 7.
    List,
    /// The watch begins, and nothing more is ever heard on its connection.
    GoesSilent,
    /// Not even the head of an answer comes.
    NeverAnswers,
    Fails,
    /// The watch says that another stop was made.
    Tells,
}

/// Bytes that come, and then the end or silence.
struct Stream {
    bytes: Option<Bytes>,
    ends: bool,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn stop(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
        "metadata": {"name": name, "resourceVersion": version},
        "spec": {"target": {"agent": name}, "reason": "it loops", "by": "someone"},
    })
}

async fn answer(does: Does) -> Result<Response<Stream>, BoxError> {
    let told = match does {
        Does::List => Some(json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStopList",
            "metadata": {"resourceVersion": "7"}, "items": [stop("a", "7")],
        })),
        Does::GoesSilent => None,
        Does::NeverAnswers => std::future::pending().await,
        Does::Fails => return Err("connection refused".into()),
        Does::Tells => Some(json!({"type": "ADDED", "object": stop("b", "8")})),
    };
    Ok(Response::new(Stream {
        bytes: told.map(|told| Bytes::from(format!("{told}\n"))),
        ends: matches!(does, Does::List),
    }))
}

/// Follows stops until `b` is known. Gives the requests that it took, and how long.
async fn heard(script: impl IntoIterator<Item = Does>) -> (Vec<String>, Duration) {
    let script = Arc::new(Mutex::new(
        script.into_iter().collect::<Vec<_>>().into_iter(),
    ));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        seen.lock().expect("no panic").push(query);
        let does = script.lock().expect("no panic").next();
        answer(does.expect("a request that nobody expects"))
    });
    let began = Instant::now();
    let mut known = informer::follow::<AgentStop>(&Client::new(service, "default"));
    let is_told = |known: &Arc<informer::Known<AgentStop>>| known.valid().count() == 2;
    known.wait_for(is_told).await.expect("it goes on");
    let asked = asked.lock().expect("no panic").clone();
    (asked, began.elapsed())
}

/// A list, and then watches from the version that it told of.
fn assert_listed_once(asked: &[String]) {
    assert!(!asked[0].contains("watch"), "{asked:?}");
    for watch in &asked[1..] {
        let is_resumed = watch.contains("watch=true") && watch.contains("resourceVersion=7");
        assert!(is_resumed && watch.contains("timeoutSeconds=10"), "{watch}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_silent_is_resumed_within_fifteen_seconds() {
    let (asked, took) = heard([Does::List, Does::GoesSilent, Does::Tells]).await;
    assert_eq!(asked.len(), 3);
    assert_listed_once(&asked);
    assert_eq!(took.as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_answer_begins_to_is_made_anew() {
    let script = [
        Does::List,
        Does::NeverAnswers,
        Does::NeverAnswers,
        Does::Tells,
    ];
    let (asked, took) = heard(script).await;
    assert_listed_once(&asked);
    assert!(took < 2 * (HEAD_WITHIN + FIRST_PAUSE * 2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_back_is_heard_within_seconds() {
    let away = [Does::Fails; 12];
    let script = [&[Does::List, Does::GoesSilent][..], &away, &[Does::Tells]].concat();
    let (asked, took) = heard(script).await;
    assert_listed_once(&asked);
    assert!(
        took < Duration::from_secs(15) + LONGEST_PAUSE * 12,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_and_longer_until_it_was_calm() {
    let mut pauses = Pauses::new();
    let mut next = || pauses.next().expect("there is always one");
    let growing: Vec<_> = (0..6).map(|_| next()).collect();
    assert!(
        growing.is_sorted() && growing[0] < growing[3],
        "{growing:?}"
    );
    assert!(
        growing[5] <= LONGEST_PAUSE && growing[5] * 2 >= LONGEST_PAUSE,
        "{growing:?}"
    );
    tokio::time::advance(CALM * 2).await;
    assert_eq!(next(), growing[0]);
}
