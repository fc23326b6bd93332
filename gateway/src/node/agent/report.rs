//! What the agent says of itself: readiness, problems, metrics, and the state of every pod.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, time::Instant};

use super::{Agent, tracked::Tracked};
use crate::{
    node::{
        desired::Desired,
        layout::PodKey,
        metrics::Metrics,
        pods::KnownPod,
        snapshot::{CoverageState, PodSnapshot, Snapshot},
    },
    readiness::{BlockReady, Readiness},
    redirect::{CgroupId, Decisions, PodState},
};

/// Whom the agent says it to.
pub(in crate::node) struct Outputs {
    pub(in crate::node) readiness: Readiness,
    /// Held until the agent says itself whether it is ready.
    pub(in crate::node) starting: Option<BlockReady>,
    pub(in crate::node) metrics: Metrics,
    pub(in crate::node) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(in crate::node) ready: watch::Sender<bool>,
}

pub(super) struct Report {
    outputs: Outputs,
    unready: Option<BlockReady>,
    /// What is wrong on the node as a whole, by what it is about.
    problems: BTreeMap<&'static str, String>,
    pub(super) api_connections: BTreeMap<CgroupId, u64>,
}

impl Report {
    pub(super) fn new(outputs: Outputs) -> Self {
        Self {
            outputs,
            unready: None,
            problems: BTreeMap::new(),
            api_connections: BTreeMap::new(),
        }
    }

    pub(super) fn set_problem(&mut self, about: &'static str, problem: Option<String>) {
        match problem {
            Some(problem) => self.problem(about, &problem),
            None => self.solved(about),
        }
    }

    pub(super) fn problem(&mut self, about: &'static str, problem: &str) {
        if self
            .problems
            .get(about)
            .is_some_and(|known| known == problem)
        {
            return;
        }
        tracing::warn!(about, problem, "the node is not as it should be");
        self.problems.insert(about, problem.to_owned());
    }

    pub(super) fn solved(&mut self, about: &'static str) {
        if self.problems.remove(about).is_some() {
            tracing::info!(about, "the node is as it should be again");
        }
    }

    pub(super) fn mismatches(&self, count: usize) {
        self.outputs.metrics.mismatches.inc_by(count as u64);
    }

    pub(super) fn decisions(&self, decisions: Option<Decisions>) {
        if let Some(decisions) = decisions {
            self.outputs.metrics.set_decisions(&decisions);
        }
    }
}

impl Agent {
    /// Says what there is to say.
    pub(super) fn say(&mut self, now: Instant) {
        let snapshot = self.snapshot();
        let started = self.led.is_some() && now >= self.hold_until;
        let ready = started && snapshot.problems.is_empty();
        let report = &mut self.report;
        if started {
            report.outputs.starting.take();
        }
        match (ready, started) {
            (true, _) => report.unready = None,
            (false, true) if report.unready.is_none() => {
                report.unready = Some(report.outputs.readiness.register("observed state"));
            }
            _ => {}
        }
        let listeners = self
            .held
            .values()
            .map(|held| held.listeners.len())
            .sum::<usize>();
        let metrics = &report.outputs.metrics;
        metrics.listeners.set(listeners as i64);
        metrics.gateways.set(self.peers.gateways() as i64);
        report
            .outputs
            .ready
            .send_if_modified(|was| std::mem::replace(was, ready) != ready);
        // Sent whether it differs or not: that somebody looked is what keeps the report from growing old.
        report.outputs.snapshots.send_replace(Arc::new(snapshot));
    }

    fn snapshot(&self) -> Snapshot {
        let present = self
            .pods
            .iter()
            .map(|(key, tracked)| self.pod_snapshot(key, tracked));
        let mut problems: Vec<String> = self.report.problems.values().cloned().collect();
        problems.extend(self.destinations.borrow().problems.iter().cloned());
        if !self.informers.are_synced() {
            problems.push("the API server has not told of this node's pods yet".to_owned());
        }
        for (key, tracked) in &self.pods {
            let endangered = tracked.endangers();
            problems.extend(endangered.map(|why| format!("pod {}: {why}", tracked.name(key))));
        }
        Snapshot {
            pods: present.chain(self.without_cgroup()).collect(),
            problems,
        }
    }

    fn pod_snapshot(&self, key: &PodKey, tracked: &Tracked) -> PodSnapshot {
        let (state, reason) = self.state_of(key, tracked);
        let connections = self.report.api_connections.get(&tracked.cgroup.id);
        let unknown = KnownPod {
            name: key.to_string(),
            uid: key.to_string(),
            ..KnownPod::default()
        };
        let pod = tracked.facts.as_deref().unwrap_or(&unknown);
        snapshot_of(pod, state, reason, connections.copied().unwrap_or_default())
    }

    /// Pods of this node that kubelet has not begun with, or that run where no cgroup of ours is.
    fn without_cgroup(&self) -> Vec<PodSnapshot> {
        let pods = self.informers.pods().into_values();
        let missing = pods.filter(|pod| {
            let present = self.pods.contains_key(&PodKey::Uid(pod.uid.clone()));
            !present && !pod.ended && pod.mirrors.is_none()
        });
        missing
            .map(|pod| {
                let reason = "it has no cgroup on this node yet".to_owned();
                snapshot_of(&pod, CoverageState::Unknown, reason, 0)
            })
            .collect()
    }

    fn state_of(&self, key: &PodKey, tracked: &Tracked) -> (CoverageState, String) {
        let agent = match &tracked.desired {
            Desired::Unknown(why) => return (CoverageState::Unknown, (*why).to_owned()),
            Desired::Pass(_) if tracked.classified != Some(PodState::PASS) => {
                let why = tracked.kernel_trouble.clone();
                return (
                    CoverageState::Unknown,
                    why.unwrap_or_else(|| "it is being classified".to_owned()),
                );
            }
            Desired::Pass(why) => return (CoverageState::Exempt, (*why).to_owned()),
            Desired::Agent(agent) => agent,
        };
        if !self.attached {
            let why = "the kernel has no list of destinations from this node agent yet".to_owned();
            return (CoverageState::Unknown, why);
        }
        if let Some(why) = tracked.endangers() {
            return (CoverageState::Unknown, why.clone());
        }
        if agent.ended {
            return (
                CoverageState::Denied,
                "all its containers have ended".to_owned(),
            );
        }
        let why_not = tracked
            .kernel_trouble
            .as_ref()
            .or(tracked.mismatch.as_ref())
            .or(tracked.no_listener.as_ref());
        if let Some(why) = why_not {
            return (CoverageState::Denied, why.clone());
        }
        let listens = self
            .held
            .get(key.as_str())
            .is_some_and(|held| !held.listeners.is_empty());
        if !tracked.canary || !listens {
            let why = tracked.refused.values().next();
            let why = why.map_or("its listeners are not open yet", String::as_str);
            return (CoverageState::Denied, why.to_owned());
        }
        if let Some(why) = agent.needs_recreate {
            return (CoverageState::NeedsRecreate, why.to_owned());
        }
        (CoverageState::Captured, captured(tracked))
    }
}

impl Tracked {
    /// What the kernel did not do or what was found in the pod, where it is more than that the pod's connections are
    /// refused. What a pod does to itself alone is no trouble of the node.
    fn endangers(&self) -> Option<&String> {
        let closed =
            self.classified == Some(PodState::AGENT) && (self.enforced || !self.ports_guarded);
        let trouble = self.kernel_trouble.as_ref().or(self.mismatch.as_ref());
        trouble.filter(|_| !closed)
    }

    fn name(&self, key: &PodKey) -> String {
        match &self.facts {
            Some(pod) => format!("{}/{}", pod.namespace, pod.name),
            None => key.to_string(),
        }
    }
}

fn captured(tracked: &Tracked) -> String {
    let refused = tracked.refused.iter();
    let refused: Vec<String> = refused
        .map(|(destination, why)| format!("{destination} ({why})"))
        .collect();
    match refused.is_empty() {
        true => "its connections to the API server end at the gateway".to_owned(),
        false => format!(
            "its connections to the API server end at the gateway, but those to {} are refused",
            refused.join(", ")
        ),
    }
}

fn snapshot_of(
    pod: &KnownPod,
    state: CoverageState,
    reason: String,
    api_connections: u64,
) -> PodSnapshot {
    PodSnapshot {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        service_account: pod.service_account.clone(),
        owner: pod.owner.clone(),
        state,
        reason,
        api_connections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect::PodCgroup;

    #[tokio::test]
    async fn a_foreign_listener_in_a_pod_that_is_closed_is_that_pods_trouble_alone() {
        let cgroup = PodCgroup {
            id: CgroupId(7),
            path: "/sys/fs/cgroup/kubepods/pod7".into(),
        };
        let mut tracked = Tracked::new(cgroup, Instant::now());
        tracked.mismatch = Some("somebody else listens there".to_owned());
        (tracked.classified, tracked.ports_guarded) = (Some(PodState::AGENT), true);
        assert_eq!(tracked.endangers(), tracked.mismatch.as_ref());
        tracked.enforced = true;
        assert_eq!(tracked.endangers(), None);
    }
}
