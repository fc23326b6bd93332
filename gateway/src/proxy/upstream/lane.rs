//! HTTP/2 connections for one kind of call, and the streams on them.
//!
//! hyper's client takes requests into a queue of its own, where a GOAWAY that comes meanwhile leaves it
//! unknown whether a request was sent. So streams are opened on `h2` itself: what [`Slot::open`] refuses was
//! never sent, and a stream that fails with the peer's GOAWAY lies above its last id (RFC 9113, section 6.8).

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection as Driver, ResponseFuture, SendRequest},
};
use http::Request;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::dial::ConnectError;

/// kube-apiserver allows 100 streams a connection unless told otherwise (`secure_serving.go`). A few are left
/// for streams that we have reset and it has not yet forgotten.
const MOST_STREAMS: usize = 90;

/// 90 streams each: more than one API server wants of one client.
const MOST_CONNECTIONS: usize = 64;

/// Of an answer's head. A few hundred warnings fit.
const MOST_HEAD_BYTES: u32 = 256 << 10;

/// How many streams a server takes before it has said so. More than it takes would be refused.
const UNKNOWN: usize = 0;

/// What `h2` reckons a frame of one byte to cost, in bytes.
const FRAME_COST: usize = 256;

/// Go's own: a connection that is dead is found within 45 s, instead of with the next call on it.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(15);

/// Connections for calls of one kind. Streams do not stall each other: the window of a connection is as large
/// as those of all its streams together, so readers that stop fill their own streams only.
pub(super) struct Lane {
    window: u32,
    /// What `h2` may hold of frames that are small for what they cost, in bytes of their cost.
    frames: usize,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// One connection is opened at a time, and all who waited for it use it.
    dialing: tokio::sync::Mutex<()>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    streams: AtomicUsize,
}

/// A stream's place on a connection, given back on drop.
pub(super) struct Slot {
    connection: Arc<Connection>,
}

impl Lane {
    /// `window` is what one stream may have in flight towards us, in bytes.
    pub(super) fn new(window: u32) -> Self {
        Self {
            window,
            // As `h2` has it: half of the connection's window.
            frames: window as usize * MOST_STREAMS / 2,
            connections: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
        }
    }

    /// One whose streams are gathered, so that frames never stay: as many may come at once as the windows allow.
    pub(super) fn gathered(window: u32) -> Self {
        Self {
            frames: window as usize * MOST_STREAMS * FRAME_COST,
            ..Self::new(window)
        }
    }

    /// A place on an open connection, the one that was opened first if it has room.
    ///
    /// A server that leaves lets its watches go on, so there may be many connections that take nothing new.
    pub(super) fn free(&self) -> Option<Slot> {
        let mut connections = self.lock();
        loop {
            let slot = connections.iter().find_map(Connection::take)?;
            if slot.connection.takes_streams() {
                return Some(slot);
            }
            connections.retain(|other| !Arc::ptr_eq(other, &slot.connection));
        }
    }

    /// Held while a connection is opened.
    pub(super) async fn dialing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.dialing.lock().await
    }

    /// Whether another connection may be opened.
    pub(super) fn may_grow(&self) -> bool {
        self.lock().len() < MOST_CONNECTIONS
    }

    /// Opens HTTP/2 on a new connection.
    pub(super) async fn add(
        self: &Arc<Self>,
        stream: TlsStream<TcpStream>,
    ) -> Result<Slot, ConnectError> {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(UNKNOWN)
            .initial_window_size(self.window)
            .initial_connection_window_size(self.window * MOST_STREAMS as u32)
            .data_frame_budget(self.frames)
            .max_header_list_size(MOST_HEAD_BYTES)
            .handshake::<_, Bytes>(stream);
        let (sender, mut driver) = handshake.await?;
        settings(&sender, &mut driver).await?;
        let connection = Arc::new(Connection {
            sender,
            streams: AtomicUsize::new(0),
        });
        let slot = Connection::take(&connection).ok_or(ConnectError::Exhausted)?;
        self.lock().push(Arc::clone(&connection));
        self.drive(&connection, driver);
        Ok(slot)
    }

    fn drive(self: &Arc<Self>, connection: &Arc<Connection>, driver: Driver<TlsStream<TcpStream>>) {
        let (lane, connection) = (Arc::downgrade(self), Arc::downgrade(connection));
        tokio::spawn(async move {
            if let Err(error) = drive(driver).await {
                tracing::debug!(%error, "an HTTP/2 connection to the API server ended");
            }
            if let Some(lane) = lane.upgrade() {
                lane.lock()
                    .retain(|other| !std::ptr::eq(Arc::as_ptr(other), connection.as_ptr()));
            }
        });
    }

    /// No more streams on that connection; those it has go on.
    pub(super) fn retire(&self, slot: &Slot) {
        self.lock()
            .retain(|other| !Arc::ptr_eq(other, &slot.connection));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn take(self: &Arc<Self>) -> Option<Slot> {
        let most = self.sender.current_max_send_streams().min(MOST_STREAMS);
        self.streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                (streams < most).then_some(streams + 1)
            })
            .ok()?;
        Some(Slot {
            connection: Arc::clone(self),
        })
    }

    /// Whether the server has not said that it is leaving.
    fn takes_streams(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
}

impl Slot {
    /// Opens the stream. An error means that nothing of the request has left, nor will.
    pub(super) async fn open(
        &self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut sender = self.connection.sender.clone().ready().await?;
        let ends = body.is_empty();
        let (answer, mut stream) = sender.send_request(request, ends)?;
        if !ends && let Err(error) = stream.send_data(body, true) {
            // The stream has failed already; why, its answer says.
            tracing::debug!(%error, "a stream ended before its request was queued");
        }
        Ok(answer)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Carries the connection's first frames until the server has said how many streams it takes.
async fn settings(
    sender: &SendRequest<Bytes>,
    driver: &mut Driver<TlsStream<TcpStream>>,
) -> Result<(), ConnectError> {
    poll_fn(|cx| match Pin::new(&mut *driver).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(ConnectError::Closed)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        Poll::Pending if sender.current_max_send_streams() == UNKNOWN => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    })
    .await
}

/// Carries the connection's frames until it ends, or stops answering.
async fn drive(mut driver: Driver<TlsStream<TcpStream>>) -> Result<(), h2::Error> {
    let pings = driver.ping_pong();
    tokio::select! {
        ended = &mut driver => ended,
        () = silence(pings) => {
            tracing::warn!("the API server does not answer on an HTTP/2 connection, which is closed");
            Ok(())
        }
    }
}

/// Resolves when a ping has stayed without answer.
async fn silence(pings: Option<PingPong>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        if pings.send_ping(Ping::opaque()).is_err() {
            // The connection is ending, and its driver says how.
            return std::future::pending().await;
        }
        let pong = poll_fn(|cx| pings.poll_pong(cx));
        match tokio::time::timeout(PING_PATIENCE, pong).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
