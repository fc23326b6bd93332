//! One upgraded connection, from the 101 to its recorded end.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    client::Client,
    farewell,
    splice::{End, Traffic, splice},
    tap::Tap,
};
use crate::{
    audit::record::Outcome,
    proxy::{
        listener::Peer, live::Counters, recording::Recording, rejection::Rejection,
        revocation::Ending,
    },
};

/// For the client to take the end of the connection.
pub(super) const CLOSING: Duration = Duration::from_secs(5);

pub(super) struct Tunnel {
    recording: Recording,
    upstream: TokioIo<Upgraded>,
    idle: Duration,
    traffic: Traffic,
    _open: Open,
    /// The connection keeps its place, and a drain waits for it.
    _peer: Arc<Peer>,
}

/// Counted as long as it lives.
struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Tunnel {
    pub(super) fn new(
        recording: Recording,
        upstream: Upgraded,
        peer: &Arc<Peer>,
        idle: Duration,
        tap: Tap,
    ) -> Self {
        let open = Open::new(&recording.recorder().metrics.upgraded);
        Self {
            recording,
            upstream: TokioIo::new(upstream),
            idle,
            traffic: Traffic::tapped(tap),
            _open: open,
            _peer: Arc::clone(peer),
        }
    }

    /// What has passed so far, to the API server and from there.
    pub(super) fn counters(&self) -> Counters {
        [&self.traffic.up, &self.traffic.down].map(Arc::clone)
    }

    /// Passes bytes until an end, and records it before the client sees it. An end that is out of order and nobody's
    /// decision, or that could not be recorded, is a connection that breaks off.
    pub(super) async fn run(
        self,
        client: impl Future<Output = Option<Client>>,
        stop: impl Future<Output = Ending>,
    ) {
        let Self {
            mut recording,
            upstream,
            idle,
            traffic,
            _open,
            _peer,
        } = self;
        let mut ending = None;
        let stop = async { ending = Some(stop.await) };
        let (client, end) = pass(client, upstream, &traffic, idle, stop).await;
        let (outcome, broken) = told(end, idle, ending.as_ref());
        let (up, down) = (traffic.up.load(Relaxed), traffic.down.load(Relaxed));
        recording.tunnelled(up, down, broken.as_deref());
        recording.heard(traffic.tap.finish());
        let recorded = recording.finish(outcome).await;
        let (Ok(()), Some(mut client)) = (recorded, client) else {
            return;
        };
        match (end, ending) {
            (End::InOrder, _) => {
                // A client that is gone cannot be told.
                let _told = timeout(CLOSING, client.shutdown()).await;
            }
            (End::Stopped, Some(ending)) if ending.is_a_decision() => {
                farewell::tell(client, &Rejection::Denied(ending.to_string())).await;
            }
            _ => {}
        }
    }
}

/// Passes bytes until an end; the API server's side is closed then. The client is there once it has the 101.
async fn pass(
    client: impl Future<Output = Option<Client>>,
    mut upstream: TokioIo<Upgraded>,
    traffic: &Traffic,
    idle: Duration,
    stop: impl Future<Output = ()>,
) -> (Option<Client>, End) {
    let mut stop = pin!(stop);
    let client = tokio::select! {
        client = client => client,
        () = traffic.idle(idle) => return (None, End::Idle),
        () = &mut stop => return (None, End::Stopped),
    };
    let Some(mut client) = client else {
        return (None, End::ClientGone);
    };
    let end = splice(&mut client, &mut upstream, traffic, idle, stop).await;
    (Some(client), end)
}

fn told(end: End, idle: Duration, ending: Option<&Ending>) -> (Outcome, Option<String>) {
    let broken = match end {
        End::InOrder => return (Outcome::Complete, None),
        End::ClientGone => "the client went away".to_owned(),
        End::UpstreamBroke => "the API server broke the connection off".to_owned(),
        End::Idle => format!("nothing passed for {} s", idle.as_secs()),
        End::Stopped => ending.unwrap_or(&Ending::Drain).to_string(),
    };
    (Outcome::Aborted, Some(broken))
}
