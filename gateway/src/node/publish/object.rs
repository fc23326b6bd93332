//! The node's `NodeCoverage`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    api::v1alpha1::node_coverage::{
        NodeCoverage, NodeCoverageSpec, NodeCoverageStatus, PodCoverage,
    },
    config::node::NodeConfig,
    node::snapshot::{CoverageState, PodSnapshot, Snapshot},
};

pub(super) struct Object {
    node: String,
    nodes: Api<Node>,
    coverages: Api<NodeCoverage>,
    pins: PathBuf,
    started: Timestamp,
}

impl Object {
    pub(super) fn new(client: Client, config: &NodeConfig) -> Self {
        Self {
            node: config.node.clone(),
            nodes: Api::all(client.clone()),
            coverages: Api::all(client),
            pins: config.pins.clone(),
            started: Timestamp::now(),
        }
    }

    /// What an earlier node agent has said of its pods; nothing where that cannot be read.
    pub(super) async fn pods(&self) -> Vec<PodCoverage> {
        let object = self.coverages.get_opt(&self.node).await.ok().flatten();
        let status = object.and_then(|object| object.status);
        status.map(|status| status.pods).unwrap_or_default()
    }

    /// Writes all of it, and makes the object where there is none.
    pub(super) async fn write(&self, snapshot: &Snapshot, at: Timestamp) -> kube::Result<()> {
        let status = json!({"status": self.status(snapshot, at)});
        match self.patch(&status).await {
            Err(kube::Error::Api(status_of)) if status_of.is_not_found() => {
                self.create().await?;
                self.patch(&status).await
            }
            patched => patched,
        }
    }

    pub(super) async fn renew(&self, at: Timestamp) -> kube::Result<()> {
        self.patch(&json!({"status": {"observedAt": whole_seconds(at)}}))
            .await
    }

    async fn patch(&self, patch: &serde_json::Value) -> kube::Result<()> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self
            .coverages
            .patch_status(&self.node, &params, &patch)
            .await;
        patched.map(drop)
    }

    /// It goes with its Node.
    async fn create(&self) -> kube::Result<()> {
        let mut object = NodeCoverage::new(&self.node, NodeCoverageSpec::default());
        let node = self.nodes.get_opt(&self.node).await?;
        let owner = node.and_then(|node| node.owner_ref(&()));
        object.owner_references_mut().extend(owner);
        match self.coverages.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            created => created.map(drop),
        }
    }

    fn status(&self, snapshot: &Snapshot, at: Timestamp) -> NodeCoverageStatus {
        let count = |state| i32::try_from(snapshot.count(state)).unwrap_or(i32::MAX);
        NodeCoverageStatus {
            observed_at: whole_seconds(at),
            counted_since: whole_seconds(oldest(&self.pins).unwrap_or(self.started)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            captured: count(CoverageState::Captured),
            denied: count(CoverageState::Denied),
            exempt: count(CoverageState::Exempt),
            needs_recreate: count(CoverageState::NeedsRecreate),
            unknown: count(CoverageState::Unknown),
            problems: snapshot.problems.clone(),
            pods: snapshot.pods.iter().map(pod).collect(),
        }
    }
}

fn pod(pod: &PodSnapshot) -> PodCoverage {
    PodCoverage {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        service_account: pod.service_account.clone(),
        owner: pod.owner.clone(),
        state: pod.state,
        reason: pod.reason.clone(),
        api_connections: i64::try_from(pod.api_connections).unwrap_or(i64::MAX),
    }
}

/// When the oldest pin below `directory` was made: the kernel counts connections since then, whoever is running.
fn oldest(directory: &Path) -> Option<Timestamp> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let times = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() {
            return oldest(&entry.path());
        }
        metadata
            .modified()
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok())
    });
    times.min()
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn connections_are_counted_since_the_oldest_pin() {
        let pins = tempfile::tempdir().expect("a directory");
        assert_eq!(oldest(pins.path()), None);
        let hour_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
        fs::create_dir(pins.path().join("v1")).expect("created");
        for (name, at) in [("links", SystemTime::now()), ("v1/counts", hour_ago)] {
            let file = fs::File::create(pins.path().join(name)).expect("created");
            file.set_modified(at).expect("set");
        }
        assert_eq!(oldest(pins.path()), Timestamp::try_from(hour_ago).ok());
        assert_eq!(oldest(Path::new("/nonexistent")), None);
    }
}
