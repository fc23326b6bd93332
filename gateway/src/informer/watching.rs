//! How long silence is believed: a watch that hears nothing may be one whose connection is dead.
//!
//! Stops, denials and policies are heard of by watches alone, and the connections that calls take may live while that
//! of a watch is dead. So the API server is asked to end each watch early, and where even that end is not heard, a new
//! watch begins, from the last version that was heard of: nothing is listed again.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use http::{Request, Response};
use kube::{
    Client,
    client::Body,
    runtime::{utils::Backoff, watcher},
};
use tokio::time::{Instant, timeout};
use tower::{BoxError, service_fn};

/// An object may have a megabyte, and a page of them is in memory at once.
const PAGE: u32 = 50;
/// The API server ends a watch after so long. kube gives one up that has said nothing for 5 s more.
const WATCH_SECONDS: u32 = 10;
/// The head of an answer comes in milliseconds, also of a watch. A request on a dead connection would wait for ever.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// An API server that is back is heard after so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Without a failure for so long, the next one is a first one.
const CALM: Duration = Duration::from_secs(60);

pub(super) fn config() -> watcher::Config {
    watcher::Config::default()
        .page_size(PAGE)
        .timeout(WATCH_SECONDS)
}

/// The same API server, given up on where no answer begins.
pub(super) fn impatient(client: &Client) -> Client {
    let inner = client.clone();
    let service = service_fn(move |request| begun(inner.clone(), request));
    Client::new(service, client.default_namespace())
}

async fn begun(client: Client, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    Ok(timeout(HEAD_WITHIN, client.send(request)).await??)
}

/// The pauses between failures. kube's own grow to half a minute, for which stops would not be heard.
pub(super) struct Pauses {
    next: Duration,
    failed: Option<Instant>,
    /// Gateways that lose the API server together do not come back together.
    share: f64,
}

impl Pauses {
    pub(super) fn new() -> Self {
        let random = RandomState::new().hash_one(0) % 512;
        Self {
            next: FIRST_PAUSE,
            failed: None,
            share: 0.5 + random as f64 / 1024.0,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let last = self.failed.replace(Instant::now());
        if last.is_some_and(|last| last.elapsed() > CALM) {
            self.next = FIRST_PAUSE;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        Some(pause.mul_f64(self.share))
    }
}

impl Backoff for Pauses {
    /// Not by an event: that a list begins is one, and comes before each list that fails.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests;
