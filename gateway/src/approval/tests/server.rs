//! An API server for one kind of object: strict about versions, and badly reached.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State},
    approval::{Approvals, state},
    informer::{Key, Known},
};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    None,
    /// It never arrives.
    RequestLost,
    /// It is carried out, and nobody hears of it.
    ReplyLost,
    /// Others come first.
    Late,
    /// A read answers from a cache that is one version behind.
    Stale,
    Overloaded,
    Forbidden,
}

impl Arbitrary for Fault {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![
            4 => Just(Self::None),
            1 => Just(Self::RequestLost),
            2 => Just(Self::ReplyLost),
            3 => Just(Self::Late),
            2 => Just(Self::Stale),
            1 => Just(Self::Overloaded),
        ]
        .boxed()
    }
}

#[derive(Clone)]
pub(super) struct Server {
    stored: Arc<Mutex<Stored>>,
    known: watch::Sender<Arc<Known<ApprovalRequest>>>,
}

#[derive(Default)]
struct Stored {
    version: u64,
    objects: BTreeMap<Key, Value>,
    before: BTreeMap<Key, Value>,
    faults: VecDeque<Fault>,
}

impl Default for Server {
    fn default() -> Self {
        let known = Known {
            synced: true,
            ..Known::default()
        };
        Self {
            stored: Arc::default(),
            known: watch::channel(Arc::new(known)).0,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection broke")]
struct Broken;

impl Server {
    pub(super) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.serve(request).await }
        });
        kube::Client::new(service, "default")
    }

    pub(super) fn gateway(&self, name: &str) -> Approvals {
        Approvals::over(
            self.known.subscribe(),
            self.client(),
            name.to_owned(),
            "sallyport-system".to_owned(),
        )
    }

    pub(super) fn next_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults = faults.into_iter().collect();
    }

    /// Waits until nothing more happens in the background.
    pub(super) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(super) fn uses(&self, key: &Key) -> Vec<String> {
        let stored = self.lock();
        let uses = stored.objects[key]["status"]["uses"].as_array().cloned();
        let uses = uses.unwrap_or_default();
        let ids = uses.iter().filter_map(|one| one["auditID"].as_str());
        ids.map(str::to_owned).collect()
    }

    pub(super) fn state(&self, key: &Key) -> State {
        let object = self.lock().objects[key].clone();
        let request = serde_json::from_value(object).expect("a request");
        state(&request, jiff::Timestamp::now())
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, Broken> {
        let fault = self.lock().faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::RequestLost => return Err(Broken),
            Fault::Overloaded => {
                return Ok(status(StatusCode::SERVICE_UNAVAILABLE, "Busy", "busy"));
            }
            Fault::Forbidden => {
                let why = "requests are made by somebody else";
                return Ok(status(StatusCode::FORBIDDEN, "Forbidden", why));
            }
            Fault::Late => self.settle().await,
            Fault::None | Fault::ReplyLost | Fault::Stale => {}
        }
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(|_| Broken)?;
        let path: Vec<_> = head
            .uri
            .path()
            .split('/')
            .skip(4)
            .map(str::to_owned)
            .collect();
        let answer = self.answer(&head.method, &path, &body, fault);
        self.tell();
        // The answer travels, too.
        tokio::task::yield_now().await;
        match fault {
            Fault::ReplyLost => Err(Broken),
            _ => Ok(answer),
        }
    }

    /// `namespaces/<namespace>/approvalrequests[/<name>[/status]]`
    fn answer(
        &self,
        method: &Method,
        path: &[String],
        body: &[u8],
        fault: Fault,
    ) -> Response<Body> {
        let mut stored = self.lock();
        let namespace = path[1].clone();
        match (method, path.get(3)) {
            (&Method::POST, None) => {
                let object: Value = serde_json::from_slice(body).expect("JSON");
                let name = object["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned();
                stored.create((namespace, name), object)
            }
            (&Method::GET, Some(name)) => {
                let key = (namespace, name.clone());
                let behind = stored.before.get(&key).filter(|_| fault == Fault::Stale);
                match behind.or_else(|| stored.objects.get(&key)) {
                    Some(object) => json_answer(StatusCode::OK, object),
                    None => status(StatusCode::NOT_FOUND, "NotFound", "not found"),
                }
            }
            (&Method::PUT, Some(name)) => {
                let object = serde_json::from_slice(body).expect("JSON");
                stored.replace_status((namespace, name.clone()), object)
            }
            other => panic!("{other:?} is not served"),
        }
    }

    /// What watchers hear.
    fn tell(&self) {
        let objects = self.lock().objects.clone();
        let understood = objects.into_iter().map(|(key, object)| {
            let request = serde_json::from_value(object).expect("a request");
            (key, Ok(Arc::new(request)))
        });
        self.known.send_replace(Arc::new(Known {
            synced: true,
            objects: understood.collect(),
            ..Known::default()
        }));
    }
}

impl Stored {
    fn create(&mut self, key: Key, mut object: Value) -> Response<Body> {
        if self.objects.contains_key(&key) {
            return status(StatusCode::CONFLICT, "AlreadyExists", "already exists");
        }
        object["status"] = json!({"state": "Pending", "votes": [], "uses": []});
        object["metadata"]["namespace"] = json!(key.0);
        self.store(key, object, StatusCode::CREATED)
    }

    fn replace_status(&mut self, key: Key, object: Value) -> Response<Body> {
        let Some(current) = self.objects.get(&key) else {
            return status(StatusCode::NOT_FOUND, "NotFound", "not found");
        };
        if current["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return status(
                StatusCode::CONFLICT,
                "Conflict",
                "the object has been modified",
            );
        }
        let mut changed = current.clone();
        changed["status"] = object["status"].clone();
        self.before.insert(key.clone(), current.clone());
        self.store(key, changed, StatusCode::OK)
    }

    fn store(&mut self, key: Key, mut object: Value, code: StatusCode) -> Response<Body> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let answer = json_answer(code, &object);
        self.objects.insert(key, object);
        answer
    }
}

fn json_answer(code: StatusCode, object: &Value) -> Response<Body> {
    let body = serde_json::to_vec(object).expect("it serializes");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    });
    json_answer(code, &status)
}
