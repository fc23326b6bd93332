//! Tells the cluster what this node's pods are: the object `NodeCoverage`, events on pods, metrics.
//!
//! The object is written when a pod's state or a problem changes, at most every five seconds, and every thirty
//! seconds otherwise: whole where only numbers of connections have changed, else its `observedAt` alone. That is when
//! a snapshot last came, not when it was written, so a node agent that no longer looks is seen to be one.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub(super) use self::metrics::CoverageMetrics;
use self::{
    events::Events,
    object::Object,
    writing::{Write, Writing},
};
use super::snapshot::Snapshot;
use crate::config::node::NodeConfig;

mod events;
mod metrics;
mod object;
mod writing;

/// Runs until the sender is gone. Whoever observes sends after every look, changed or not: each is an observation.
pub(super) async fn publish(
    client: Client,
    config: Arc<NodeConfig>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: CoverageMetrics,
) {
    let object = Object::new(client.clone(), &config);
    let mut events = Events::new(client, &config);
    let mut writing = Writing::default();
    loop {
        tokio::select! {
            seen = snapshots.changed() => {
                if seen.is_err() {
                    return;
                }
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                metrics.show(&snapshot);
                events.tell(&object, &snapshot).await;
                writing.see(snapshot, Timestamp::now(), Instant::now());
            }
            () = until(writing.due()) => write(&object, &mut writing, &metrics).await,
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn write(object: &Object, writing: &mut Writing, metrics: &CoverageMetrics) {
    let Some(next) = writing.next() else {
        return;
    };
    let written = match &next {
        Write::Whole(snapshot, at) => object.write(snapshot, *at).await,
        Write::Renewal(at) => object.renew(*at).await,
    };
    if let Err(error) = &written {
        metrics.failed();
        tracing::warn!(%error, "the object NodeCoverage could not be written; apply the output of `sallyport manifests` where its CRD is missing");
    }
    writing.done(next, written.is_ok(), Instant::now());
}
