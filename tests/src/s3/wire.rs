//! A wire to an S3 server that fails as networks and servers do.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime};

/// What becomes of requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Connections end before they say anything.
    Down,
    /// Every answer is a 503; nothing is carried out.
    Unavailable,
    /// Everything is carried out and nothing answered, while the connection stays.
    Hang,
    /// So many PUTs are carried out, but their connection ends before the answer.
    LoseReplies(usize),
}

/// Relays requests unchanged, so that signatures hold.
pub struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    fault: Fault,
    /// Requests that were carried out.
    carried_out: BTreeMap<String, usize>,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Wire {
    pub fn before(server: SocketAddr) -> Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let (runtime, address) = super::serve(move |stream| {
            let state = Arc::clone(&shared);
            async move {
                if lock(&state).fault == Fault::Down {
                    return;
                }
                let answer = |request| relay(request, server, Arc::clone(&state));
                // An error of the service is how a connection ends without an answer.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            }
        })?;
        Ok(Self {
            address,
            state,
            _runtime: runtime,
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, fault: Fault) {
        lock(&self.state).fault = fault;
    }

    /// How many requests of this method the server has carried out.
    pub fn carried_out(&self, method: &Method) -> usize {
        let state = lock(&self.state);
        state.carried_out.get(method.as_str()).copied().unwrap_or(0)
    }
}

async fn relay(
    request: Request<Incoming>,
    server: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Answer> {
    let method = request.method().clone();
    let fault = lock(&state).fault;
    match fault {
        Fault::Down => bail!("the server is down"),
        Fault::Unavailable => return Ok(unavailable()),
        _ => {}
    }
    let answer = forward(request, server).await?;
    let fault = {
        let mut state = lock(&state);
        *state
            .carried_out
            .entry(method.as_str().to_owned())
            .or_default() += 1;
        let fault = state.fault;
        if let (Fault::LoseReplies(left), &Method::PUT) = (fault, &method) {
            state.fault = match left {
                0 | 1 => Fault::None,
                left => Fault::LoseReplies(left - 1),
            };
        }
        fault
    };
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::LoseReplies(_) if method == Method::PUT => bail!("the answer is lost"),
        _ => Ok(answer),
    }
}

async fn forward(request: Request<Incoming>, server: SocketAddr) -> Result<Answer> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let (mut head, body) = answer.into_parts();
    // These are of the other connection.
    head.headers.remove(header::CONNECTION);
    head.headers.remove(header::TRANSFER_ENCODING);
    // Read to its end here, so that the connection may go.
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, full(body)))
}

fn unavailable() -> Answer {
    let text = "<Error><Code>ServiceUnavailable</Code><Message>Reduce your request rate.</Message></Error>";
    let mut answer = Response::new(full(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

fn full(bytes: Bytes) -> BoxBody<Bytes, hyper::Error> {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
