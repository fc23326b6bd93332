//! HTTP/1.1 connections, for what stands before an API server and speaks nothing newer. One call each, kept
//! for the next.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::dial::ConnectError;

/// Below the API server's own idle timeout, so that it is mostly us who close.
const IDLE_AGE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 64;
const READ_BUFFER: usize = 64 << 10;

pub(super) type Sender = SendRequest<Full<Bytes>>;

#[derive(Clone, Default)]
pub(super) struct Idle {
    senders: Arc<Mutex<Vec<(Instant, Sender)>>>,
}

impl Idle {
    /// The connection that was used last, of those that can take a call now. One that is still sending a request
    /// whose answer has come already cannot.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut senders = self.lock();
        senders.retain(|(since, sender)| since.elapsed() < IDLE_AGE && !sender.is_closed());
        let ready = senders.iter().rposition(|(_, sender)| sender.is_ready())?;
        Some(senders.remove(ready).1)
    }

    pub(super) fn put(&self, sender: Sender) {
        let mut senders = self.lock();
        if senders.len() < MOST_IDLE {
            senders.push((Instant::now(), sender));
        }
    }

    #[cfg(test)]
    pub(super) fn ready(&self) -> usize {
        let senders = self.lock();
        senders
            .iter()
            .filter(|(_, sender)| sender.is_ready())
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Sender)>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens HTTP/1.1 on a new connection, which can be upgraded.
pub(super) async fn handshake(stream: TlsStream<TcpStream>) -> Result<Sender, ConnectError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an HTTP/1.1 connection to the API server ended");
        }
    });
    Ok(sender)
}
