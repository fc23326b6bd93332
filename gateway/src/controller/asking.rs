//! Tells webhooks of each request that waits for people, once.
//!
//! What is to be told is in the cluster, so nothing is lost with a leader: the next one tells what `status.toldAt` does
//! not say to be told. Who is ended between the two tells it twice.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    election::{Leadership, NotWritten, TRIES_AGAIN_AFTER},
    message,
    webhooks::Webhooks,
};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State},
    approval::state,
    informer::Known,
};

/// The others wait where they are, in the cluster.
const MOST_AT_ONCE: usize = 32;

pub(super) struct Asking {
    client: Client,
    known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    webhooks: Arc<Webhooks>,
    leadership: Leadership,
}

type Uid = String;

/// What has been taken up, until the API server says so itself.
#[derive(Default)]
struct InHand(BTreeMap<Uid, Progress>);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    Telling,
    Told,
}

impl Asking {
    pub(super) fn new(
        client: Client,
        known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
        webhooks: Arc<Webhooks>,
        leadership: Leadership,
    ) -> Self {
        Self {
            client,
            known,
            webhooks,
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(super) async fn keep(&self) {
        if self.webhooks.is_empty() {
            return std::future::pending().await;
        }
        let mut heard = self.known.clone();
        let mut in_hand = InHand::default();
        let mut telling = FuturesUnordered::new();
        loop {
            let known = Arc::clone(&heard.borrow_and_update());
            for request in in_hand.take_up(&known, Timestamp::now()) {
                telling.push(self.tell(request));
            }
            tokio::select! {
                heard = heard.changed() => if heard.is_err() {
                    return;
                },
                Some(uid) = telling.next(), if !telling.is_empty() => in_hand.done(uid),
            }
        }
    }

    fn tell(&self, request: Arc<ApprovalRequest>) -> BoxFuture<'_, Uid> {
        Box::pin(async move {
            let left = request.spec.expires_at.duration_since(Timestamp::now());
            let left = Duration::try_from(left).unwrap_or_default();
            let message = message::ask(&request);
            self.webhooks.tell(&message, Instant::now() + left).await;
            while let Err(error) = self.mark(&request).await {
                tracing::warn!(%error, "that webhooks were told could not be written; trying again");
                sleep(TRIES_AGAIN_AFTER).await;
            }
            uid(&request)
        })
    }

    async fn mark(&self, request: &ApprovalRequest) -> Result<(), NotWritten> {
        let metadata = &request.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ApprovalRequest> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "metadata": {"uid": metadata.uid},
            "status": {"toldAt": Timestamp::now()},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let name = metadata.name.as_deref().unwrap_or_default();
        let patching = api.patch_status(name, &params, &patch);
        match self.leadership.write(patching).await {
            // Another object of its name by now, or none.
            Err(error) if !error.is_stale() => Err(error),
            _ => Ok(()),
        }
    }
}

impl InHand {
    /// Forgets what needs no memory any more, and takes up what is new.
    fn take_up(
        &mut self,
        known: &Known<ApprovalRequest>,
        now: Timestamp,
    ) -> Vec<Arc<ApprovalRequest>> {
        let waiting: BTreeMap<Uid, &Arc<ApprovalRequest>> = known
            .valid()
            .filter(|(_, request)| waits(request, now))
            .map(|(_, request)| (uid(request), request))
            .collect();
        self.0
            .retain(|uid, progress| *progress == Progress::Telling || waiting.contains_key(uid));
        let mut taken = Vec::new();
        for (uid, request) in waiting {
            let telling = self
                .0
                .values()
                .filter(|progress| **progress == Progress::Telling);
            if telling.count() >= MOST_AT_ONCE {
                break;
            }
            if let Entry::Vacant(untold) = self.0.entry(uid) {
                untold.insert(Progress::Telling);
                taken.push(Arc::clone(request));
            }
        }
        taken
    }

    fn done(&mut self, uid: Uid) {
        self.0.insert(uid, Progress::Told);
    }
}

fn uid(request: &ApprovalRequest) -> Uid {
    request.metadata.uid.clone().unwrap_or_default()
}

/// Whether somebody is still to be told.
fn waits(request: &ApprovalRequest, now: Timestamp) -> bool {
    let told = request.status.as_ref().and_then(|status| status.told_at);
    told.is_none() && state(request, now) == State::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::v1alpha1::approval_request::ApprovalRequestStatus, controller::example};

    fn known(requests: impl IntoIterator<Item = ApprovalRequest>) -> Known<ApprovalRequest> {
        let objects = requests.into_iter().map(|request| {
            let name = uid(&request);
            ((String::new(), name), Ok(Arc::new(request)))
        });
        Known {
            synced: true,
            objects: objects.collect(),
            ..Known::default()
        }
    }

    fn request(uid: &str) -> ApprovalRequest {
        let mut request = example::request();
        request.metadata.uid = Some(uid.into());
        request
    }

    fn told(uid: &str) -> ApprovalRequest {
        let mut request = request(uid);
        request.status = Some(ApprovalRequestStatus {
            told_at: Some(Timestamp::UNIX_EPOCH),
            ..ApprovalRequestStatus::default()
        });
        request
    }

    fn taken(in_hand: &mut InHand, requests: Vec<ApprovalRequest>) -> Vec<Uid> {
        let taken = in_hand.take_up(&known(requests), Timestamp::UNIX_EPOCH);
        taken.iter().map(|request| uid(request)).collect()
    }

    #[test]
    fn each_is_taken_up_once_also_while_the_api_server_does_not_know_yet() {
        let mut in_hand = InHand::default();
        assert_eq!(taken(&mut in_hand, vec![request("a"), told("b")]), ["a"]);
        assert!(taken(&mut in_hand, vec![request("a")]).is_empty());
        in_hand.done("a".into());
        assert!(taken(&mut in_hand, vec![request("a")]).is_empty());
        assert!(taken(&mut in_hand, vec![told("a")]).is_empty());
        assert!(in_hand.0.is_empty());
    }

    #[test]
    fn a_storm_is_taken_up_bit_by_bit() {
        let mut in_hand = InHand::default();
        let storm = || {
            (0..500)
                .map(|number| request(&number.to_string()))
                .collect()
        };
        assert_eq!(taken(&mut in_hand, storm()).len(), MOST_AT_ONCE);
        assert!(taken(&mut in_hand, storm()).is_empty());
        in_hand.done("0".into());
        assert_eq!(taken(&mut in_hand, storm()).len(), 1);
    }
}
