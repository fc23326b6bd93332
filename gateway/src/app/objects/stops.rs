//! What the data path is told of stops: those that were heard of, and those that the controller brought before.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::Receiver;
use crate::{
    api::v1alpha1::agent_stop::AgentStop,
    control::StopPush,
    informer::{self, Known, changed},
    policy::{Pushed, Stops},
    readiness::BlockReady,
};

pub(super) struct TellStops {
    client: Client,
    known: Receiver<AgentStop>,
    /// When it began to be followed. Its list is later.
    began: Instant,
    /// What was known whole last, which counts until a new list is whole.
    whole: Arc<Known<AgentStop>>,
    pushed: Pushed,
    pushes: mpsc::Receiver<StopPush>,
    needed: Needed,
    stops: watch::Sender<Arc<Stops>>,
}

/// What has to be heard beside stops before anybody is let through.
pub(super) struct Needed {
    pub(super) in_force: watch::Receiver<bool>,
    pub(super) namespaces: Receiver<Namespace>,
    pub(super) waiting: Option<BlockReady>,
}

impl TellStops {
    pub(super) fn new(
        client: Client,
        pushes: mpsc::Receiver<StopPush>,
        needed: Needed,
        stops: watch::Sender<Arc<Stops>>,
    ) -> Self {
        Self {
            began: Instant::now(),
            known: informer::follow(&client),
            whole: Arc::default(),
            pushed: Pushed::default(),
            client,
            pushes,
            needed,
            stops,
        }
    }

    pub(super) async fn run(mut self) {
        let mut taken = None;
        loop {
            let everything = self.tell();
            answer(taken.take());
            let overdue = self.overdue();
            tokio::select! {
                () = self.stops.closed() => return,
                () = changed(&mut self.known) => {}
                () = changed(&mut self.needed.in_force) => {}
                () = changed(&mut self.needed.namespaces), if !everything => {}
                Some(push) = self.pushes.recv() => taken = Some(self.take(push)),
                () = at(overdue) => self.list_anew(),
            }
        }
    }

    /// Whether everything that counts has been heard.
    fn tell(&mut self) -> bool {
        let known = Arc::clone(&self.known.borrow_and_update());
        if known.synced {
            self.pushed.settle(&known, self.began);
            self.whole = known;
        }
        let everything = self.needed.is_there();
        let now = match everything {
            true => Stops::of(&self.whole).and(&self.pushed),
            false => Stops::not_heard(),
        };
        if now.is_heard() && self.needed.waiting.take().is_some() {
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
        let is_in_force = self.pushed.take(&push.object, &self.whole, Instant::now());
        (push.in_force, is_in_force)
    }

    /// Never while a list is awaited.
    fn overdue(&self) -> Option<Instant> {
        self.pushed.overdue().filter(|_| self.known.borrow().synced)
    }

    fn list_anew(&mut self) {
        tracing::warn!(
            "a stop that the controller brought is unheard of: the stops are listed anew"
        );
        self.began = Instant::now();
        self.known = informer::follow(&self.client);
    }
}

impl Needed {
    fn is_there(&mut self) -> bool {
        *self.in_force.borrow_and_update() && self.namespaces.borrow_and_update().synced
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

#[cfg(test)]
mod tests;
