//! Writes the gateway's alerts as Events: the same ones as one that counts, and none of them more than once a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::proxy::{Board, Due};

const LOOKS_EVERY: Duration = Duration::from_secs(2);
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct AlertWriter {
    events: Api<Event>,
    namespace: String,
    node: String,
    /// Of this process: a gateway that starts again counts anew.
    instance: String,
    board: Arc<Board>,
}

impl AlertWriter {
    pub(super) fn new(client: Client, namespace: &str, node: &str, board: Arc<Board>) -> Self {
        Self {
            events: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            node: node.to_owned(),
            instance: Uuid::now_v7().to_string(),
            board,
        }
    }

    /// Writes what comes, until `shutdown`, and then what is left.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut looks = interval(LOOKS_EVERY);
        let writing = async {
            loop {
                looks.tick().await;
                self.board.forget_quiet(Instant::now());
                self.write(AT_MOST_EVERY).await;
            }
        };
        let _: Option<()> = shutdown.run_until_cancelled(writing).await;
        let _late = timeout(PATIENCE, self.write(Duration::ZERO)).await;
    }

    async fn write(&self, pause: Duration) {
        let look = Instant::now();
        while let Some(due) = self.board.next(look, pause) {
            let written = timeout(PATIENCE, self.put(&due)).await;
            let is_written = matches!(written, Ok(Ok(())));
            if !is_written {
                let alert = &due.alert;
                tracing::warn!(reason = %alert.reason, note = alert.note, "an alert could not be written; trying again");
            }
            self.board.tried(&due, look, is_written);
        }
    }

    async fn put(&self, due: &Due) -> kube::Result<()> {
        let writer = format!("{}/{}", self.instance, due.serial);
        let (name, now) = (due.alert.event_name(&writer), Timestamp::now());
        if due.is_there {
            return match self.count(&name, due.total, now).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    self.create(&name, due, now).await
                }
                counted => counted,
            };
        }
        match self.create(&name, due, now).await {
            // The answer to an earlier attempt was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.count(&name, due.total, now).await
            }
            created => created,
        }
    }

    async fn create(&self, name: &str, due: &Due, now: Timestamp) -> kube::Result<()> {
        let event = (due.alert).event(name, &self.namespace, &self.node, due.total, now);
        let created = self.events.create(&PostParams::default(), &event).await;
        created.map(drop)
    }

    async fn count(&self, name: &str, total: i32, now: Timestamp) -> kube::Result<()> {
        let last = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let patch = json!({"count": total, "lastTimestamp": last});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        self.events.patch(name, &params, &patch).await.map(drop)
    }
}
