use std::{
    convert::Infallible,
    sync::{Mutex, atomic::AtomicBool, atomic::Ordering::SeqCst},
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Duration;
use tower::service_fn;

use super::*;

fn stop(version: &str) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
        "metadata": {"name": "one", "uid": version, "resourceVersion": version},
        "spec": {"target": {"agent": "fixer"}, "reason": "it loops", "by": "alice"},
    })
}

/// An API server that lists stops and whose watches fail, and while it is away everything.
#[derive(Default)]
struct Server {
    is_away: AtomicBool,
    stops: Mutex<Vec<Value>>,
}

impl Server {
    fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let answer = server.answer(request.uri().query().unwrap_or_default());
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, query: &str) -> Response<Full<Bytes>> {
        let (status, body) = match query.contains("watch=true") || self.is_away.load(SeqCst) {
            true => (503, json!({"kind": "Status", "code": 503})),
            false => (200, self.list()),
        };
        let answer = Response::builder().status(status);
        let body = Full::new(Bytes::from(body.to_string()));
        answer.body(body).expect("an answer")
    }

    fn list(&self) -> Value {
        let stops = self.stops.lock().expect("no panic").clone();
        json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStopList",
            "metadata": {"resourceVersion": "3"}, "items": stops,
        })
    }
}

struct Telling {
    pushes: mpsc::Sender<StopPush>,
    told: watch::Receiver<Arc<Stops>>,
    _needed: (watch::Sender<bool>, watch::Sender<Arc<Known<Namespace>>>),
}

impl Telling {
    async fn by(server: &Arc<Server>) -> Self {
        let (in_force, is_in_force) = watch::channel(true);
        let namespaces = Known {
            synced: true,
            ..Known::default()
        };
        let (namespaces, known_namespaces) = watch::channel(Arc::new(namespaces));
        let needed = Needed {
            in_force: is_in_force,
            namespaces: known_namespaces,
            waiting: None,
        };
        let (pushes, taken) = mpsc::channel(1);
        let (stops, mut told) = watch::channel(Arc::new(Stops::not_heard()));
        tokio::spawn(TellStops::new(server.client(), taken, needed, stops).run());
        let heard = told.wait_for(|stops| stops.is_heard()).await;
        heard.expect("it goes on");
        Self {
            pushes,
            told,
            _needed: (in_force, namespaces),
        }
    }

    async fn push(&self, stop: Value) -> bool {
        let object = serde_json::from_value(stop).expect("a stop");
        let (in_force, answer) = oneshot::channel();
        let push = StopPush { object, in_force };
        self.pushes.send(push).await.expect("it goes on");
        answer.await.expect("an answer")
    }

    fn stops(&self) -> usize {
        self.told.borrow().iter().count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_holds_while_nothing_is_heard_and_ends_by_the_first_list_without_it() {
    let server = Arc::new(Server::default());
    let mut telling = Telling::by(&server).await;
    server.is_away.store(true, SeqCst);
    assert!(telling.push(stop("7")).await);
    sleep_until(Instant::now() + Duration::from_secs(3600)).await;
    assert_eq!(telling.stops(), 1, "an hour without a word");

    server.is_away.store(false, SeqCst);
    let is_over = telling.told.wait_for(|stops| stops.iter().count() == 0);
    is_over.await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn who_resumes_a_stop_meanwhile_is_named_once_it_is_listed() {
    let server = Arc::new(Server::default());
    let mut telling = Telling::by(&server).await;
    assert!(telling.push(stop("7")).await);
    let stopped = telling.told.borrow().iter().next().cloned();

    let mut lifted = stop("7");
    lifted["metadata"]["resourceVersion"] = json!("9");
    lifted["status"] = json!({"resumed": {"by": "bob", "at": "2026-11-26T11:00:00Z"}});
    server.stops.lock().expect("no panic").push(lifted);
    let is_over = telling.told.wait_for(|stops| stops.iter().count() == 0);
    let told = Arc::clone(&is_over.await.expect("it goes on"));
    let resumed = told.resumed(&stopped.expect("a stop"));
    assert_eq!(resumed.expect("who resumed it").by, "bob");
}
