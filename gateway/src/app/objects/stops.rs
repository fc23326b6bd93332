//! What the data path is told of stops: those that were heard of, and those that the controller brought before.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::Receiver;
use crate::{
    api::v1alpha1::agent_stop::AgentStop,
    control::StopPush,
    informer::changed,
    policy::{Pushed, Stops},
    readiness::BlockReady,
};

pub(super) struct TellStops {
    pub(super) known: Receiver<AgentStop>,
    pub(super) namespaces: Receiver<Namespace>,
    pub(super) in_force: watch::Receiver<bool>,
    pub(super) waiting: Option<BlockReady>,
    pub(super) pushes: mpsc::Receiver<StopPush>,
    pub(super) pushed: Pushed,
    pub(super) stops: watch::Sender<Arc<Stops>>,
}

impl TellStops {
    pub(super) async fn run(mut self) {
        let mut taken = None;
        loop {
            let everything = self.tell();
            answer(taken.take());
            let lease = self.pushed.ends();
            tokio::select! {
                () = self.stops.closed() => return,
                () = changed(&mut self.known) => {}
                () = changed(&mut self.in_force) => {}
                () = changed(&mut self.namespaces), if !everything => {}
                Some(push) = self.pushes.recv() => taken = Some(self.take(push)),
                () = at(lease) => {}
            }
        }
    }

    /// Whether everything that counts has been heard.
    fn tell(&mut self) -> bool {
        let known = Arc::clone(&self.known.borrow_and_update());
        self.pushed.settle(&known, Instant::now());
        let everything =
            *self.in_force.borrow_and_update() && self.namespaces.borrow_and_update().synced;
        let now = match everything {
            true => Stops::of(&known).and(&self.pushed),
            false => Stops::not_heard(),
        };
        if now.is_heard() && self.waiting.take().is_some() {
            tracing::info!(
                stops = now.iter().count(),
                "the cluster's objects are known"
            );
        }
        self.stops.send_replace(Arc::new(now));
        everything
    }

    /// Its answer waits until it has been told.
    fn take(&mut self, push: StopPush) -> (oneshot::Sender<bool>, bool) {
        let known = Arc::clone(&self.known.borrow());
        let is_in_force = self.pushed.take(&push.object, &known, Instant::now());
        (push.in_force, is_in_force)
    }
}

fn answer(taken: Option<(oneshot::Sender<bool>, bool)>) {
    if let Some((waiting, is_in_force)) = taken {
        // Whoever asked may have gone.
        let _gone = waiting.send(is_in_force);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
