//! Events on the pods that need a person: shown by `kubectl describe pod` and `kubectl get events`.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::object::Object;
use crate::{
    config::node::NodeConfig,
    node::snapshot::{CoverageState, NO_AGENT, PodSnapshot, Snapshot},
};

/// Characters; the API server takes a kilobyte.
const MOST_NOTE: usize = 250;

pub(super) struct Events {
    recorder: Recorder,
    own_pod: Option<String>,
    /// Of each pod that was told of, by UID, what was told; `None` before the first snapshot.
    told: Option<HashMap<String, &'static str>>,
}

impl Events {
    pub(super) fn new(client: Client, config: &NodeConfig) -> Self {
        let reporter = Reporter {
            controller: "sallyport-node".to_owned(),
            instance: Some(config.node.clone()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            own_pod: config.own_pod.as_ref().map(|pod| pod.uid.clone()),
            told: None,
        }
    }

    /// Tells once of each change. What the object already says was told by an earlier node agent.
    pub(super) async fn tell(&mut self, object: &Object, snapshot: &Snapshot) {
        let mut told = match self.told.take() {
            Some(told) => told,
            None => told_before(object).await,
        };
        for pod in self.changed(&told, snapshot) {
            self.publish(pod).await;
        }
        told.clear();
        told.extend(snapshot.pods.iter().filter_map(|pod| {
            let reason = reason(pod.state, &pod.reason)?;
            Some((pod.uid.clone(), reason))
        }));
        self.told = Some(told);
    }

    fn changed<'a>(
        &self,
        told: &HashMap<String, &'static str>,
        snapshot: &'a Snapshot,
    ) -> Vec<&'a PodSnapshot> {
        let others = snapshot
            .pods
            .iter()
            .filter(|pod| self.own_pod.as_ref() != Some(&pod.uid));
        let changed = others.filter(|pod| {
            let reason = reason(pod.state, &pod.reason);
            reason.is_some() && told.get(&pod.uid).copied() != reason
        });
        changed.collect()
    }

    async fn publish(&self, pod: &PodSnapshot) {
        let Some(reason) = reason(pod.state, &pod.reason) else {
            return;
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(pod.reason.chars().take(MOST_NOTE).collect()),
            action: "Capture".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &reference(pod)).await {
            tracing::warn!(%error, namespace = pod.namespace, pod = pod.name, reason, "an event could not be written");
        }
    }
}

async fn told_before(object: &Object) -> HashMap<String, &'static str> {
    let pods = object.pods().await.into_iter();
    let told = pods.filter_map(|pod| Some((pod.uid, reason(pod.state, &pod.reason)?)));
    told.collect()
}

/// The event's `reason`; `None` where all is well.
fn reason(state: CoverageState, why: &str) -> Option<&'static str> {
    match state {
        CoverageState::Denied => Some("AgentDenied"),
        CoverageState::NeedsRecreate => Some("AgentNeedsRecreate"),
        CoverageState::Exempt if why != NO_AGENT => Some("NeverAnAgent"),
        CoverageState::Exempt | CoverageState::Captured | CoverageState::Unknown => None,
    }
}

fn reference(pod: &PodSnapshot) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
