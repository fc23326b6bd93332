//! Finds a connection for a call.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    dial::{CONNECT_PATIENCE, ConnectError, Dialed, Dialer},
    idle::{self, Idle, Sender},
    lane::{Lane, Slot},
};

/// What an answer may have in flight towards us before its reader takes it. A stalled reader costs this much.
const WINDOW: u32 = 256 << 10;
/// Of watches there are many, and most of them say nothing.
const LONG_WINDOW: u32 = 64 << 10;

/// Long-running calls have connections of their own: they fill those for hours, and the others stay free.
pub(super) struct Pool {
    pub(super) dialer: Dialer,
    short: Arc<Lane>,
    long: Arc<Lane>,
    pub(super) idle: Idle,
    /// What answers speaks nothing newer than HTTP/1.1, so each call needs a connection of its own and waits for
    /// nobody else's.
    only_http1: AtomicBool,
}

/// A connection for one call.
pub(super) enum Lease {
    Http2(Slot),
    Http1(Sender),
}

impl Pool {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            short: Arc::new(Lane::new(WINDOW)),
            long: Arc::new(Lane::gathered(LONG_WINDOW)),
            idle: Idle::default(),
            only_http1: AtomicBool::new(false),
        }
    }

    /// An open connection where there is one, else a new one.
    pub(super) async fn lease(&self, long_running: bool) -> Result<Lease, ConnectError> {
        let lane = self.lane(long_running);
        match self.open(lane) {
            Some(lease) => Ok(lease),
            None => tokio::time::timeout(CONNECT_PATIENCE, self.dial(lane))
                .await
                .map_err(|_| ConnectError::Timeout)?,
        }
    }

    /// The slot's connection takes no more calls.
    pub(super) fn retire(&self, slot: &Slot, long_running: bool) {
        self.lane(long_running).retire(slot);
    }

    fn lane(&self, long_running: bool) -> &Arc<Lane> {
        if long_running {
            &self.long
        } else {
            &self.short
        }
    }

    fn open(&self, lane: &Lane) -> Option<Lease> {
        match lane.free() {
            Some(slot) => Some(Lease::Http2(slot)),
            None => self.idle.take().map(Lease::Http1),
        }
    }

    async fn dial(&self, lane: &Arc<Lane>) -> Result<Lease, ConnectError> {
        let turn = lane.dialing().await;
        // Opened by the one whose turn was before.
        if let Some(lease) = self.open(lane) {
            return Ok(lease);
        }
        if !lane.may_grow() {
            return Err(ConnectError::Exhausted);
        }
        let _turn = (!self.only_http1.load(Ordering::Relaxed)).then_some(turn);
        match self.dialer.open().await? {
            Dialed::Http2(stream) => {
                self.only_http1.store(false, Ordering::Relaxed);
                lane.add(stream).await.map(Lease::Http2)
            }
            Dialed::Http1(stream) => {
                self.only_http1.store(true, Ordering::Relaxed);
                idle::handshake(stream).await.map(Lease::Http1)
            }
        }
    }

    /// Of HTTP/2, that take calls.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.short.len() + self.long.len()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}
