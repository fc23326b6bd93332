//! An API server that answers from memory, over HTTP/1.1 and HTTP/2.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::{self, HTTP2},
    client::{LIST, QUIET_WATCH, SECRETS, WATCH},
    lists::{list, secret},
    objects::pod,
};

const EVENT_EVERY: Duration = Duration::from_millis(2);
const SECRET_VALUE: usize = 4096;

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl Stub {
    pub(crate) fn start(directory: &Path) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tls = TlsAcceptor::from(Arc::new(certificates::server_config(directory)));
        runtime.spawn(accept(listener, tls, Arc::new(Bodies::new())));
        Self {
            address,
            _runtime: runtime,
        }
    }
}

struct Bodies {
    object: Bytes,
    list: Bytes,
    secrets: Bytes,
    event: Bytes,
}

impl Bodies {
    fn new() -> Self {
        let event = json!({ "type": "MODIFIED", "object": pod(2) });
        Self {
            object: pod(1).to_string().into(),
            list: list("PodList", 1_000_000, pod).into(),
            secrets: list("SecretList", 20_000_000, |number| {
                secret(number, SECRET_VALUE)
            })
            .into(),
            event: format!("{event}\n").into(),
        }
    }

    fn answer(&self, target: &str) -> Either<Full<Bytes>, Events> {
        match target {
            WATCH => Either::Right(Events::endless(self.event.clone())),
            QUIET_WATCH => Either::Right(Events::one(self.event.clone())),
            LIST => Either::Left(self.list.clone().into()),
            SECRETS => Either::Left(self.secrets.clone().into()),
            _ => Either::Left(self.object.clone().into()),
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, bodies: Arc<Bodies>) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a socket");
        // A client that goes away is not what is measured.
        let (tls, bodies) = (tls.clone(), Arc::clone(&bodies));
        tokio::spawn(async move { drop(serve(socket, tls, bodies).await) });
    }
}

async fn serve(
    socket: TcpStream,
    tls: TlsAcceptor,
    bodies: Arc<Bodies>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tls.accept(socket).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let service = service_fn(move |request| answer(request, Arc::clone(&bodies)));
    let io = TokioIo::new(stream);
    if is_http2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.max_concurrent_streams(1000);
        http.serve_connection(io, service).await?;
    } else {
        http1::Builder::new().serve_connection(io, service).await?;
    }
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    bodies: Arc<Bodies>,
) -> Result<Response<Either<Full<Bytes>, Events>>, Infallible> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-cache, private")
        .body(bodies.answer(target));
    Ok(response.expect("a response"))
}

/// The events of a watch.
struct Events {
    event: Bytes,
    interval: Interval,
    left: Option<usize>,
}

impl Events {
    fn endless(event: Bytes) -> Self {
        let mut interval = interval(EVENT_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            event,
            interval,
            left: None,
        }
    }

    fn one(event: Bytes) -> Self {
        Self {
            left: Some(1),
            ..Self::endless(event)
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.left {
            // Nobody wakes it: the client ends the watch.
            Some(0) => return Poll::Pending,
            Some(left) => *left -= 1,
            None => {
                ready!(self.interval.poll_tick(cx));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.event.clone()))))
    }
}
