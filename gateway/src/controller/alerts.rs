//! What somebody must look at: seen by every replica, written as Events and told to webhooks by the leader.
//!
//! An Event is the memory of an alert. Its name is made of what it is about, so a second leader that saw the same
//! writes nothing new; and what webhooks have been told of it is an annotation, so that they are told once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

pub(super) use self::telling::Telling;
use self::{coverage::Coverages, glasses::Glasses, requests::Requests, stops::Stops};
use super::election::{Leadership, NotWritten, TRIES_AGAIN_AFTER};
use crate::{
    api::{
        alert::Alert,
        v1alpha1::{
            agent_stop::AgentStop, approval_request::ApprovalRequest, break_glass::BreakGlass,
            node_coverage::NodeCoverage,
        },
    },
    informer::Known,
};

mod coverage;
mod glasses;
mod requests;
mod stops;
mod telling;

/// Seen and not written. Who does not lead keeps them for a while, for the case that nobody else has written them.
const MOST: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(600);
/// An object of before was alerted about when it was new, and the API server has forgotten that Event by now.
const RECENT: jiff::SignedDuration = jiff::SignedDuration::from_mins(50);
/// Silence makes no sound: somebody has to look.
const LOOKS_EVERY: Duration = Duration::from_secs(15);

/// Alerts that are not written yet, oldest first.
#[derive(Default)]
pub(super) struct Pending {
    alerts: Mutex<VecDeque<(Instant, Alert)>>,
    added: Notify,
}

impl Pending {
    fn add(&self, alerts: Vec<Alert>) {
        if alerts.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut pending = self.lock();
        pending.extend(alerts.into_iter().map(|alert| (now, alert)));
        pending.retain(|(since, _)| now.duration_since(*since) < KEPT_FOR);
        let too_many = pending.len().saturating_sub(MOST);
        pending.drain(..too_many);
        self.added.notify_one();
    }

    fn first(&self) -> Option<Alert> {
        self.lock().front().map(|(_, alert)| alert.clone())
    }

    fn done(&self, written: &Alert) {
        self.lock().retain(|(_, alert)| alert != written);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Alert)>> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects that alerts come from.
pub(super) struct Sources {
    pub(super) stops: watch::Receiver<Arc<Known<AgentStop>>>,
    pub(super) coverages: watch::Receiver<Arc<Known<NodeCoverage>>>,
    pub(super) approvals: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    pub(super) glasses: watch::Receiver<Arc<Known<BreakGlass>>>,
}

/// Runs on every replica, until the objects are not followed any more.
pub(super) async fn observe(mut sources: Sources, pending: Arc<Pending>) {
    let (mut stops, mut coverages) = (Stops::default(), Coverages::default());
    let (mut requests, mut glasses) = (Requests::default(), Glasses::default());
    loop {
        let now = Timestamp::now();
        let known = Arc::clone(&sources.stops.borrow_and_update());
        pending.add(stops.see(&known, now));
        let known = Arc::clone(&sources.coverages.borrow_and_update());
        pending.add(coverages.see(&known, Instant::now()));
        let known = Arc::clone(&sources.approvals.borrow_and_update());
        pending.add(requests.see(&known, now));
        let known = Arc::clone(&sources.glasses.borrow_and_update());
        pending.add(glasses.see(&known, now));
        let heard = tokio::select! {
            heard = sources.stops.changed() => heard,
            heard = sources.coverages.changed() => heard,
            heard = sources.approvals.changed() => heard,
            heard = sources.glasses.changed() => heard,
            () = sleep(LOOKS_EVERY) => Ok(()),
        };
        if heard.is_err() {
            return;
        }
    }
}

/// Writes what is pending, for as long as this replica leads.
pub(super) struct Writing {
    events: Api<Event>,
    namespace: String,
    pending: Arc<Pending>,
    leadership: Leadership,
}

impl Writing {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        pending: Arc<Pending>,
        leadership: Leadership,
    ) -> Self {
        Self {
            events: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            pending,
            leadership,
        }
    }

    pub(super) async fn keep(&self) {
        loop {
            let Some(alert) = self.pending.first() else {
                self.pending.added.notified().await;
                continue;
            };
            match self.write(&alert).await {
                Ok(()) => self.pending.done(&alert),
                Err(error) => {
                    tracing::warn!(%error, reason = %alert.reason, "an alert could not be written; trying again");
                    sleep(TRIES_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn write(&self, alert: &Alert) -> Result<(), NotWritten> {
        let name = alert.event_name("");
        let event = alert.event(&name, &self.namespace, "controller", 1, Timestamp::now());
        let params = PostParams::default();
        let creating = self.events.create(&params, &event);
        match self.leadership.write(creating).await {
            Err(NotWritten::Refused(kube::Error::Api(status))) if status.is_already_exists() => {
                Ok(())
            }
            created => created.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::alert::Reason;

    fn alert(key: usize) -> Alert {
        Alert {
            reason: Reason::CaptureLost,
            key: key.to_string(),
            note: String::new(),
        }
    }

    #[test]
    fn alerts_that_are_the_same_have_one_name() {
        assert_eq!(alert(1).event_name(""), alert(1).event_name(""));
        assert_ne!(alert(1).event_name(""), alert(2).event_name(""));
    }

    #[test]
    fn the_oldest_go_when_nobody_writes_them() {
        let pending = Pending::default();
        pending.add((0..MOST + 3).map(alert).collect());
        assert_eq!(pending.lock().len(), MOST);
        let first = pending.first().expect("there are some");
        assert_eq!(first, alert(3));
        pending.done(&first);
        assert_eq!(pending.first(), Some(alert(4)));
    }
}
