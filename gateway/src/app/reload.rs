//! What changes while the gateway runs: policies, agents, record levels, the serving certificate.
//! Each keeps its last good state; what is wrong with a new one is said once, in the log.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use crate::{
    audit::policies::PolicyArchive,
    authn::{AgentSet, AgentSource},
    config::{
        Config,
        watch::{Changed, FileWatch},
    },
    informer, mask,
    policy::{LevelPolicy, PolicySet, PolicySource},
    telemetry::causes,
    tls::Leaves,
};

pub(super) struct Reload {
    config: Config,
    policies: PolicySource,
    key: Arc<mask::Key>,
    agents: AgentSource,
    objects: Option<Objects>,
    /// Whether there are valid policies and agents of all that counts.
    in_force: watch::Sender<bool>,
    levels: watch::Sender<Arc<LevelPolicy>>,
    leaves: Leaves,
    files: Option<FileWatch>,
    told: Told,
}

/// What was last said of each part.
#[derive(Default)]
struct Told {
    /// What is wrong with the newest state.
    wrong: BTreeMap<&'static str, String>,
    refused: Family<Part, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Part {
    part: &'static str,
}

impl Reload {
    /// Loads everything once; at the start nothing may be wrong in files. Objects of the cluster come later.
    pub(super) fn open(config: &Config, objects: Option<Objects>) -> anyhow::Result<Self> {
        let policies = config.policy.as_ref().map(|policy| &*policy.directory);
        let agents = config.agents.as_ref().map(|agents| &*agents.directory);
        let of = objects.as_ref();
        let key = Arc::new(mask::Key::configured(&config.masking)?);
        let policies = PolicySource::new(policies, of.map(|objects| objects.policies.clone()))?;
        Ok(Self {
            policies: policies.masking_with(&key),
            key,
            agents: AgentSource::new(agents, of.map(|objects| objects.agents.clone()))?,
            in_force: watch::Sender::new(objects.is_none()),
            objects,
            levels: watch::Sender::new(Arc::new(super::level_policy(&config.recording)?)),
            leaves: super::leaves(config)?,
            files: watch_files(config),
            told: Told::default(),
            config: config.clone(),
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "reload_refused",
            "1 while a part's newest state is refused and its last good one stays, by part",
            self.told.refused.clone(),
        );
    }

    pub(super) fn policies(&self) -> watch::Receiver<Arc<PolicySet>> {
        self.policies.subscribe()
    }

    /// Looks for what the policies in force say.
    pub(super) fn key(&self) -> Arc<mask::Key> {
        Arc::clone(&self.key)
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

    /// Whether there are valid policies and agents, those of the cluster included.
    pub(super) fn in_force(&self) -> watch::Receiver<bool> {
        self.in_force.subscribe()
    }

    /// Reloads on SIGHUP, changed files and changed objects, until `shutdown`.
    pub(super) async fn run(mut self, archive: PolicyArchive, shutdown: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be received: nothing will be reloaded until a restart");
                return;
            }
        };
        let mut objects = self.objects.clone();
        self.reload_objects();
        loop {
            self.keep_policies(&archive);
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hangup.recv() => self.reload(),
                () = changed(&mut self.files) => self.reload(),
                () = objects_changed(&mut objects) => self.reload_objects(),
            }
        }
    }

    fn reload(&mut self) {
        let read = self.policies.reload();
        self.told.report("policies", read.map_err(Into::into));
        let read = self.agents.reload();
        self.told.report("agents", read.map_err(Into::into));
        self.note_force();
        let levels = super::level_policy(&self.config.recording)
            .map(|levels| self.levels.send_replace(Arc::new(levels)));
        self.told
            .report("record levels", levels.map(|_| Changed::Replaced));
        let tls = self.leaves.reload(&self.config.tls);
        let tls = tls.map(|()| Changed::Replaced).map_err(Into::into);
        self.told.report("serving certificate", tls);
    }

    /// An object may change in what does not count, so only what does is told.
    fn reload_objects(&mut self) {
        let read = self.policies.reload();
        self.told
            .report_change("policies", read.map_err(Into::into));
        let read = self.agents.reload();
        self.told.report_change("agents", read.map_err(Into::into));
        self.note_force();
    }

    /// Policies that count are kept for whoever reads of them in a record.
    fn keep_policies(&self, archive: &PolicyArchive) {
        if !self.policies.is_in_force() {
            return;
        }
        let policies = self.policies.current();
        if let Err(error) = archive.keep(policies.digest(), policies.content()) {
            tracing::error!(
                error = causes(&error),
                digest = policies.digest(),
                "the policies in force cannot be archived; what their rules say will be missing beside the record"
            );
        }
    }

    fn note_force(&self) {
        let now = self.policies.is_in_force() && self.agents.is_in_use();
        self.in_force
            .send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}

impl Told {
    /// Somebody asked for it, so it is told whatever came of it.
    fn report(&mut self, part: &'static str, outcome: anyhow::Result<Changed>) {
        match outcome {
            Ok(state) => self.good(part, state),
            Err(error) => self.bad(part, format!("{error:#}")),
        }
    }

    /// Told only where it is news.
    fn report_change(&mut self, part: &'static str, outcome: anyhow::Result<Changed>) {
        match outcome.map_err(|error| format!("{error:#}")) {
            Ok(Changed::Unchanged) if !self.wrong.contains_key(part) => {}
            Ok(state) => self.good(part, state),
            Err(error) if self.wrong.get(part) == Some(&error) => {}
            Err(error) => self.bad(part, error),
        }
    }

    fn good(&mut self, part: &'static str, state: Changed) {
        tracing::info!(part, %state, "reloaded");
        self.wrong.remove(part);
        self.refused.get_or_create(&Part { part }).set(0);
    }

    fn bad(&mut self, part: &'static str, error: String) {
        tracing::error!(
            part,
            error,
            "the new state is refused, the last good one stays"
        );
        self.wrong.insert(part, error);
        self.refused.get_or_create(&Part { part }).set(1);
    }
}

/// Without inotify SIGHUP still reloads, so the gateway serves.
fn watch_files(config: &Config) -> Option<FileWatch> {
    let recording = config.recording.policy_file.iter().cloned();
    let directories = config.policy.iter().chain(&config.agents);
    let directories = directories.map(|listed| listed.directory.clone());
    let tls = config.tls.files().into_iter().map(Path::to_owned);
    let paths = directories.chain(recording).chain(tls);
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

async fn objects_changed(objects: &mut Option<Objects>) {
    let Some(objects) = objects else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = informer::changed(&mut objects.policies) => {}
        () = informer::changed(&mut objects.agents) => {}
    }
}
