//! Tells webhooks of each alert's Event, and again when it counts more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Leadership, NotWritten, TRIES_AGAIN_AFTER};
use crate::{
    api::alert::TOLD,
    controller::{message, webhooks::Webhooks},
    informer::Known,
};

/// The others wait where they are, in the cluster.
const MOST_AT_ONCE: usize = 32;
/// The API server forgets an Event after an hour.
const TOLD_WITHIN: Duration = Duration::from_secs(3600);

pub(in crate::controller) struct Telling {
    events: Api<Event>,
    known: watch::Receiver<Arc<Known<Event>>>,
    webhooks: Arc<Webhooks>,
    leadership: Leadership,
}

type Uid = String;

/// How much of each Event's count has been taken up, until the API server says so itself.
#[derive(Default)]
struct InHand(BTreeMap<Uid, Progress>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Progress {
    count: i32,
    is_told: bool,
}

impl Telling {
    pub(in crate::controller) fn new(
        client: Client,
        namespace: &str,
        known: watch::Receiver<Arc<Known<Event>>>,
        webhooks: Arc<Webhooks>,
        leadership: Leadership,
    ) -> Self {
        Self {
            events: Api::namespaced(client, namespace),
            known,
            webhooks,
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(in crate::controller) async fn keep(&self) {
        if self.webhooks.is_empty() {
            return std::future::pending().await;
        }
        let mut heard = self.known.clone();
        let mut in_hand = InHand::default();
        let mut telling = FuturesUnordered::new();
        loop {
            let known = Arc::clone(&heard.borrow_and_update());
            for event in in_hand.take_up(&known) {
                telling.push(self.tell(event));
            }
            tokio::select! {
                heard = heard.changed() => if heard.is_err() {
                    return;
                },
                Some(uid) = telling.next(), if !telling.is_empty() => in_hand.done(&uid),
            }
        }
    }

    fn tell(&self, event: Arc<Event>) -> BoxFuture<'_, Uid> {
        Box::pin(async move {
            let message = message::alert(
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default(),
                count(&event),
            );
            self.webhooks
                .tell(&message, Instant::now() + TOLD_WITHIN)
                .await;
            while let Err(error) = self.mark(&event).await {
                tracing::warn!(%error, "that webhooks were told could not be written; trying again");
                sleep(TRIES_AGAIN_AFTER).await;
            }
            uid(&event)
        })
    }

    async fn mark(&self, event: &Event) -> Result<(), NotWritten> {
        let patch = json!({"metadata": {
            "uid": event.metadata.uid,
            "annotations": {TOLD: count(event).to_string()},
        }});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let patching = self.events.patch(name, &params, &patch);
        match self.leadership.write(patching).await {
            Err(error) if !error.is_stale() => Err(error),
            _ => Ok(()),
        }
    }
}

impl InHand {
    fn take_up(&mut self, known: &Known<Event>) -> Vec<Arc<Event>> {
        let untold: BTreeMap<Uid, &Arc<Event>> = known
            .valid()
            .filter(|(_, event)| told(event) < count(event))
            .map(|(_, event)| (uid(event), event))
            .collect();
        self.0
            .retain(|uid, progress| !progress.is_told || untold.contains_key(uid));
        let mut taken = Vec::new();
        for (uid, event) in untold {
            let telling = self.0.values().filter(|progress| !progress.is_told);
            if telling.count() >= MOST_AT_ONCE {
                break;
            }
            let is_known =
                |progress: &Progress| !progress.is_told || progress.count >= count(event);
            if !self.0.get(&uid).is_some_and(is_known) {
                let progress = Progress {
                    count: count(event),
                    is_told: false,
                };
                self.0.insert(uid, progress);
                taken.push(Arc::clone(event));
            }
        }
        taken
    }

    fn done(&mut self, uid: &str) {
        if let Some(progress) = self.0.get_mut(uid) {
            progress.is_told = true;
        }
    }
}

fn count(event: &Event) -> i32 {
    event.count.unwrap_or(1)
}

fn told(event: &Event) -> i32 {
    let annotations = event.metadata.annotations.as_ref();
    let told = annotations.and_then(|annotations| annotations.get(TOLD));
    told.and_then(|told| told.parse().ok()).unwrap_or_default()
}

fn uid(event: &Event) -> Uid {
    event.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(counts: &[(i32, i32)]) -> Known<Event> {
        let objects = counts.iter().enumerate().map(|(number, (count, told))| {
            let mut event = Event {
                count: Some(*count),
                ..Event::default()
            };
            event.metadata.uid = Some(number.to_string());
            let told = (TOLD.to_owned(), told.to_string());
            event.metadata.annotations = Some(BTreeMap::from([told]));
            ((String::new(), number.to_string()), Ok(Arc::new(event)))
        });
        Known {
            synced: true,
            objects: objects.collect(),
            ..Known::default()
        }
    }

    #[test]
    fn each_count_is_told_once() {
        let mut in_hand = InHand::default();
        assert_eq!(in_hand.take_up(&known(&[(1, 0), (2, 2)])).len(), 1);
        assert!(in_hand.take_up(&known(&[(2, 0), (2, 2)])).is_empty());
        in_hand.done("0");
        // The mark is on its way; what has come meanwhile is told.
        assert!(in_hand.take_up(&known(&[(1, 0), (2, 2)])).is_empty());
        assert_eq!(in_hand.take_up(&known(&[(3, 1), (2, 2)])).len(), 1);
        in_hand.done("0");
        assert!(in_hand.take_up(&known(&[(3, 3), (2, 2)])).is_empty());
        assert!(in_hand.0.is_empty());
    }
}
