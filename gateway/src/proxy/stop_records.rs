//! The record of stops: each gateway says durably when it begins and when it ceases to deny.

use std::{collections::BTreeMap, sync::Arc};

use super::Gateway;
use crate::{
    api::names::GROUP,
    audit::record::{ObjectRef, Record},
    drain::DrainWatcher,
    identity::UserInfo,
    informer::changed,
    policy::{Stop, Stops},
};

const RESOURCE: &str = "/apis/sallyport.dev/v1alpha1/agentstops";

/// By name.
type InForce = BTreeMap<String, Arc<Stop>>;

impl Gateway {
    /// Records each stop that comes into force or ends, until the drain begins.
    pub async fn record_stops(&self, drain: DrainWatcher) {
        let mut draining = std::pin::pin!(drain.draining());
        let mut stops = self.stops.clone();
        let mut recorded = InForce::new();
        loop {
            let now = Arc::clone(&stops.borrow_and_update());
            self.record_changes(&now, &mut recorded).await;
            tokio::select! {
                () = &mut draining => return,
                () = changed(&mut stops) => {}
            }
        }
    }

    async fn record_changes(&self, stops: &Stops, recorded: &mut InForce) {
        if !stops.is_heard() {
            return;
        }
        let now: InForce = stops
            .iter()
            .map(|stop| (stop.name.clone(), Arc::clone(stop)))
            .collect();
        for (name, stop) in &*recorded {
            if now.get(name) != Some(stop) {
                let resumed = stops.resumed(stop);
                let by = resumed.map(|resumed| resumed.by.as_str());
                let reason = resumed.and_then(|resumed| resumed.reason.as_deref());
                self.record_stop("resume", stop, by, reason).await;
            }
        }
        for (name, stop) in &now {
            if recorded.get(name) != Some(stop) {
                let (by, reason) = (Some(&*stop.by), Some(&*stop.reason));
                self.record_stop("stop", stop, by, reason).await;
            }
        }
        *recorded = now;
    }

    async fn record_stop(&self, verb: &str, stop: &Stop, by: Option<&str>, reason: Option<&str>) {
        tracing::warn!(verb, stop = stop.name, by, "agents");
        let record = self.stop_record(verb, stop, by, reason);
        if let Err(error) = self.recorder.log.append(&record).await {
            tracing::error!(%error, verb, stop = stop.name, "a stop could not be recorded; it counts all the same");
        }
    }

    /// Who deleted a stop that nobody resumed is not in the object: the API server's audit log has it.
    fn stop_record(
        &self,
        verb: &str,
        stop: &Stop,
        by: Option<&str>,
        reason: Option<&str>,
    ) -> Record {
        let user = by.map(|by| UserInfo {
            username: by.to_owned(),
            ..UserInfo::default()
        });
        let object = ObjectRef {
            api_group: GROUP.into(),
            api_version: "v1alpha1".into(),
            resource: "agentstops".into(),
            name: stop.name.clone(),
            ..ObjectRef::default()
        };
        let target = format!("{RESOURCE}/{}", stop.name);
        let message = match reason {
            Some(reason) => format!("{}: {reason}", stop.whom()),
            None => stop.whom(),
        };
        Record {
            user,
            rule: Some(stop.rule()),
            ..self
                .recorder
                .own_row(verb, object, &target, (200, &message))
        }
    }
}
