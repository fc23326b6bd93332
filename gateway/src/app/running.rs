//! What runs, and the order of going down.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{capture, control};
use crate::{
    admin::{self, Admin},
    audit::{log::Log, metrics::LogMetrics, policies::PolicyArchive, ship::Shipper},
    config::{self, Config},
    control::StopPush,
    drain::{self, DrainTrigger, DrainWatcher},
    proxy::{self, Captured, Gateway, Question},
    readiness::{BlockReady, Readiness},
};

/// What runs, by when it ends.
pub(super) struct Running {
    gateway: Arc<Gateway>,
    trigger: DrainTrigger,
    /// With the drain.
    serving: JoinSet<()>,
    record: RecordTasks,
    background: Background,
}

/// What ends with the shutdown, after what serves.
#[derive(Default)]
pub(super) struct Background {
    tasks: JoinSet<()>,
    pub(super) shutdown: CancellationToken,
}

impl Background {
    /// What `begin` makes ends soon after the token is cancelled.
    pub(super) fn run<F>(&mut self, begin: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(begin(self.shutdown.clone()));
    }
}

impl Running {
    /// Nothing is served yet; what is going to be takes the watcher.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        record: RecordTasks,
        background: Background,
    ) -> (Self, DrainWatcher) {
        let (trigger, watcher) = drain::channel();
        let mut serving = JoinSet::new();
        record_changes(&gateway, &watcher, &mut serving);
        let running = Self {
            gateway,
            trigger,
            serving,
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

    /// What comes out of pods.
    pub(super) fn serve_captured(
        &mut self,
        capture: &config::Capture,
        (captured, questions): (Captured, mpsc::Receiver<Question>),
        waiting: BlockReady,
    ) {
        let client = capture::Client::new(capture, captured.clone(), questions, waiting);
        self.serving
            .spawn(async move { captured.serve_until_drain().await });
        // To the end: a node agent that comes back meanwhile needs the listeners.
        self.background.run(|shutdown| client.run(shutdown));
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
        self.background
            .run(|shutdown| admin::serve(listener, answers, shutdown));
    }

    pub(super) fn serve_control(
        &mut self,
        control: control::Listening,
        stops: Option<mpsc::Sender<StopPush>>,
    ) {
        control.serve(Arc::clone(&self.gateway), stops, &mut self.background);
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
        self.background.shutdown.cancel();
        self.record.end().await?;
        self.background.tasks.join_all().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The record, and the policies that it names.
pub(super) struct Record {
    pub(super) log: Log,
    pub(super) archive: PolicyArchive,
    shipper: Shipper,
}

impl Record {
    pub(super) fn open(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        let (recording, cluster) = (&config.recording, &config.cluster);
        let (log, shipper) = Log::open(recording, cluster).context("opening the record")?;
        let archive =
            PolicyArchive::open(recording, cluster).context("opening the archive of policies")?;
        registry.register_collector(Box::new(LogMetrics::new(log.clone(), shipper.status())));
        Ok(Self {
            log,
            archive,
            shipper,
        })
    }

    pub(super) fn ship(self, shutdown: &CancellationToken) -> RecordTasks {
        RecordTasks {
            shipping: tokio::spawn(self.shipper.run(shutdown.clone())),
            archiving: tokio::spawn(self.archive.run(shutdown.clone())),
            log: self.log,
        }
    }
}

/// What becomes of the record once it is written.
pub(super) struct RecordTasks {
    shipping: JoinHandle<()>,
    archiving: JoinHandle<()>,
    log: Log,
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
