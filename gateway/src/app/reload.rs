//! What changes while the gateway runs: policies, agents, record levels, the serving certificate.
//! Each keeps its last good state; what is wrong with a new one is said once, in the log.

use std::{path::Path, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{AgentSet, AgentSource, Config, LevelPolicy, PolicySet, PolicySource};
use crate::{config::watch::FileWatch, tls::Leaves};

pub(super) struct Reload {
    config: Config,
    policies: PolicySource,
    agents: AgentSource,
    levels: watch::Sender<Arc<LevelPolicy>>,
    leaves: Leaves,
    files: Option<FileWatch>,
}

impl Reload {
    /// Loads everything once; at the start nothing may be wrong.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            policies: PolicySource::new(&config.policy.directory)?,
            agents: AgentSource::new(
                config
                    .agents
                    .as_ref()
                    .map(|agents| agents.directory.as_path()),
            )?,
            levels: watch::Sender::new(Arc::new(super::level_policy(&config.recording)?)),
            leaves: super::leaves(config)?,
            files: watch_files(config),
            config: config.clone(),
        })
    }

    pub(super) fn policies(&self) -> watch::Receiver<Arc<PolicySet>> {
        self.policies.subscribe()
    }

    pub(super) fn agents(&self) -> watch::Receiver<Arc<AgentSet>> {
        self.agents.subscribe()
    }

    pub(super) fn levels(&self) -> watch::Receiver<Arc<LevelPolicy>> {
        self.levels.subscribe()
    }

    pub(super) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// Reloads on SIGHUP and on changed files, until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be received: nothing will be reloaded until a restart");
                return;
            }
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hangup.recv() => {}
                () = changed(&mut self.files) => {}
            }
            self.reload();
        }
    }

    fn reload(&self) {
        report(
            "policies",
            self.policies
                .reload()
                .map(|changed| changed.to_string())
                .map_err(Into::into),
        );
        report(
            "agents",
            self.agents
                .reload()
                .map(|changed| changed.to_string())
                .map_err(Into::into),
        );
        let levels = super::level_policy(&self.config.recording)
            .map(|levels| self.levels.send_replace(Arc::new(levels)));
        report("record levels", levels.map(|_| "loaded".to_owned()));
        let tls = self.leaves.reload(&self.config.tls);
        report(
            "serving certificate",
            tls.map(|()| "loaded".to_owned()).map_err(Into::into),
        );
    }
}

fn report(part: &'static str, outcome: anyhow::Result<String>) {
    match outcome {
        Ok(state) => tracing::info!(part, state, "reloaded"),
        Err(error) => tracing::error!(
            part,
            error = format!("{error:#}"),
            "the new state is refused, the last good one stays"
        ),
    }
}

/// Without inotify SIGHUP still reloads, so the gateway serves.
fn watch_files(config: &Config) -> Option<FileWatch> {
    let recording = config.recording.policy_file.iter().cloned();
    let agents = config.agents.iter().map(|agents| agents.directory.clone());
    let tls = config.tls.files().into_iter().map(Path::to_owned);
    let paths = [config.policy.directory.clone()]
        .into_iter()
        .chain(agents)
        .chain(recording)
        .chain(tls);
    FileWatch::new(paths)
        .inspect_err(|error| tracing::warn!(%error, "changes need SIGHUP"))
        .ok()
}

async fn changed(files: &mut Option<FileWatch>) {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}
