//! Writes the gateway's alerts as Events: the same ones as one that counts, and none of them more than once a minute.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::alert::Alert;

const LOOKS_EVERY: Duration = Duration::from_secs(2);
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);
/// Different ones that are remembered; further ones wait until one of these has been quiet for a while.
const MOST: usize = 128;
const QUIET: Duration = Duration::from_secs(600);

pub(super) struct AlertWriter {
    events: Api<Event>,
    namespace: String,
    node: String,
    /// Of this process: a gateway that starts again counts anew.
    instance: String,
    seen: BTreeMap<Alert, Count>,
}

#[derive(Debug, Default)]
struct Count {
    total: i32,
    written: i32,
    last: Option<Instant>,
}

impl AlertWriter {
    pub(super) fn new(client: Client, namespace: &str, node: &str) -> Self {
        Self {
            events: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            node: node.to_owned(),
            instance: Uuid::now_v7().to_string(),
            seen: BTreeMap::new(),
        }
    }

    /// Writes what comes, until `shutdown`, and then what is left.
    pub(super) async fn run(
        mut self,
        mut alerts: mpsc::Receiver<Alert>,
        shutdown: CancellationToken,
    ) {
        let mut looks = interval(LOOKS_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(alert) = alerts.recv() => self.count(alert),
                _ = looks.tick() => self.write(AT_MOST_EVERY).await,
            }
        }
        while let Ok(alert) = alerts.try_recv() {
            self.count(alert);
        }
        let _late = timeout(PATIENCE, self.write(Duration::ZERO)).await;
    }

    fn count(&mut self, alert: Alert) {
        let is_new = !self.seen.contains_key(&alert);
        if is_new && self.seen.len() >= MOST {
            tracing::warn!(reason = %alert.reason, "too many different alerts: one is only here");
            return;
        }
        let count = self.seen.entry(alert).or_default();
        count.total = count.total.saturating_add(1);
    }

    async fn write(&mut self, pause: Duration) {
        let now = Instant::now();
        self.seen.retain(|_, count| {
            let is_quiet = count.last.is_some_and(|last| now >= last + QUIET);
            !(is_quiet && count.written == count.total)
        });
        let mut due = Vec::new();
        for (alert, count) in &self.seen {
            let may = count.last.is_none_or(|last| now >= last + pause);
            if count.total > count.written && may {
                due.push((alert.clone(), count.total, count.written > 0));
            }
        }
        for (alert, total, is_there) in due {
            let written = timeout(PATIENCE, self.put(&alert, total, is_there)).await;
            let is_written = matches!(written, Ok(Ok(())));
            if !is_written {
                tracing::warn!(reason = %alert.reason, note = alert.note, "an alert could not be written; trying again");
            }
            if let Some(count) = self.seen.get_mut(&alert) {
                count.last = is_written.then_some(now).or(count.last);
                count.written = if is_written { total } else { count.written };
            }
        }
    }

    async fn put(&self, alert: &Alert, total: i32, is_there: bool) -> kube::Result<()> {
        let (name, now) = (alert.event_name(&self.instance), Timestamp::now());
        if is_there {
            let patch = json!({"count": total, "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match self.events.patch(&name, &params, &patch).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                patched => return patched.map(drop),
            }
        }
        let event = alert.event(&name, &self.namespace, &self.node, total, now);
        match self.events.create(&PostParams::default(), &event).await {
            // The answer to an earlier attempt was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            created => created.map(drop),
        }
    }
}
