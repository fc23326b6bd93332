//! What runs, and the order of going down.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::capture;
use crate::{
    admin::{self, Admin},
    audit::log::Log,
    config,
    drain::{self, DrainTrigger, DrainWatcher},
    proxy::{self, Captured, Gateway},
    readiness::{BlockReady, Readiness},
    tls::Leaves,
};

/// What runs, by when it ends.
pub(super) struct Running {
    pub(super) gateway: Arc<Gateway>,
    trigger: DrainTrigger,
    /// With the drain.
    serving: JoinSet<()>,
    pub(super) shutdown: CancellationToken,
    record: RecordTasks,
    /// With the shutdown.
    pub(super) background: JoinSet<()>,
}

impl Running {
    /// Nothing is served yet; what is going to be takes the watcher.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        record: RecordTasks,
        (background, shutdown): (JoinSet<()>, CancellationToken),
    ) -> (Self, DrainWatcher) {
        let (trigger, watcher) = drain::channel();
        let mut serving = JoinSet::new();
        record_changes(&gateway, &watcher, &mut serving);
        let running = Self {
            gateway,
            trigger,
            serving,
            shutdown,
            record,
            background,
        };
        (running, watcher)
    }
    pub(super) fn serve_explicit(
        &mut self,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        watcher: DrainWatcher,
    ) {
        let serving = proxy::serve(listener, tls, Arc::clone(&self.gateway), watcher);
        self.serving.spawn(serving);
    }

    /// What comes out of pods, at as many listeners at most.
    pub(super) fn serve_captured(
        &mut self,
        capture: &config::Capture,
        (most_listeners, leaves): (usize, Leaves),
        waiting: BlockReady,
        watcher: DrainWatcher,
    ) {
        let gateway = Arc::clone(&self.gateway);
        let (captured, questions) = Captured::new(gateway, leaves, most_listeners, watcher);
        let client = capture::Client::new(capture, captured.clone(), questions, waiting);
        self.serving
            .spawn(async move { captured.serve_until_drain().await });
        // To the end: a node agent that comes back meanwhile needs the listeners.
        self.background.spawn(client.run(self.shutdown.clone()));
    }

    pub(super) fn serve_admin(
        &mut self,
        listener: TcpListener,
        registry: Registry,
        readiness: Readiness,
    ) {
        let answers = Arc::new(Admin {
            registry,
            readiness,
        });
        let serving = admin::serve(listener, answers, self.shutdown.clone());
        self.background.spawn(serving);
    }

    pub(super) async fn go_down(mut self, limit: Duration) -> anyhow::Result<()> {
        if let Err(busy) = self.trigger.drain(limit).await {
            tracing::warn!(error = %busy, "ending what is left: upgraded connections are recorded as aborted, calls without an answer as unknown");
        }
        // Nothing new can come now. What was answered is recorded, then shipped, then the log is sealed.
        while let Some(ended) = self.serving.join_next().await {
            ended.context("a part of the gateway panicked")?;
        }
        self.gateway.settle().await;
        self.shutdown.cancel();
        self.record.end().await?;
        self.background.join_all().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What becomes of the record once it is written.
pub(super) struct RecordTasks {
    pub(super) shipping: JoinHandle<()>,
    pub(super) archiving: JoinHandle<()>,
    pub(super) log: Log,
}

impl RecordTasks {
    /// After the shutdown.
    async fn end(self) -> anyhow::Result<()> {
        self.shipping.await.context("the shipper panicked")?;
        self.archiving
            .await
            .context("the archive of policies panicked")?;
        self.log.close().await;
        Ok(())
    }
}

/// Records what is no call: floods of refusals, stops, and what people let pass.
fn record_changes(gateway: &Arc<Gateway>, watcher: &DrainWatcher, serving: &mut JoinSet<()>) {
    let given = || (Arc::clone(gateway), watcher.clone());
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_refusals(watcher).await });
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_stops(watcher).await });
    let (gateway, watcher) = given();
    serving.spawn(async move { gateway.record_glasses(watcher).await });
}
