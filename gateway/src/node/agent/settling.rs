//! One pod made into what it should be: a step that fails is tried again, and keeps no other pod waiting.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, sync::Arc};

use tokio::time::Instant;

use super::{
    Agent,
    tracked::{Attempts, Tracked},
};
use crate::{
    handover::CapturedPod,
    node::{
        desired::{self, Desired, NamespaceRole, desired},
        layout::PodKey,
        listeners::{self, Held, Opened},
        netns::{NetnsError, PodNetns},
        pods::KnownPod,
    },
    redirect::{self, PodState},
    telemetry::causes,
};

impl Agent {
    /// Brings what should become of each pod up to date.
    pub(super) fn follow_facts(&mut self, now: Instant) {
        let known = self.informers.pods();
        let own = self.config.own_pod.as_ref().map(|own| own.uid.as_str());
        let touched = self.cgroups.touched();
        for (key, tracked) in &mut self.pods {
            let word = match key {
                PodKey::Uid(uid) => known.get(uid),
                PodKey::ConfigHash(hash) => known
                    .values()
                    .find(|pod| pod.mirrors.as_ref() == Some(hash)),
            };
            // A pod that was deleted with force may run on, so what was said of it stays.
            if let Some(word) = word {
                tracked.facts = Some(Arc::clone(word));
            }
            let role = tracked
                .facts
                .as_ref()
                .map_or(NamespaceRole::Unheard, |pod| {
                    self.informers.role(&pod.namespace)
                });
            let wanted = desired(key, tracked.facts.as_deref(), role, own);
            if wanted != tracked.desired {
                tracked.desired = wanted;
                tracked.attempts = Attempts::at(now);
            }
            if touched.contains(&tracked.cgroup.path) {
                tracked.stir(now);
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        key: &PodKey,
        ports: &BTreeMap<SocketAddr, NonZeroU16>,
        now: Instant,
    ) {
        match self.pods[key].desired.clone() {
            Desired::Unknown(_) => {}
            Desired::Pass(_) => {
                let passed = self.let_pass(key);
                self.note_kernel(key, passed, now);
            }
            Desired::Agent(agent) => self.capture(key, &agent, ports, now),
        }
    }

    /// Not an agent, or not any more: then its listeners serve until its connections go their own way.
    fn let_pass(&mut self, key: &PodKey) -> Result<(), redirect::Error> {
        let tracked = self.tracked(key);
        if tracked.classified == Some(PodState::PASS) && !tracked.enforced {
            return Ok(());
        }
        if tracked.classified.is_some() || tracked.ports_guarded || tracked.enforced {
            let id = tracked.cgroup.id;
            (tracked.classified, tracked.ports_guarded, tracked.enforced) = (None, false, false);
            self.redirect.forget(id)?;
        }
        self.classify(key, PodState::PASS)?;
        self.held.remove(key.as_str());
        let tracked = self.tracked(key);
        (tracked.no_listener, tracked.mismatch) = (None, None);
        Ok(())
    }

    fn capture(
        &mut self,
        key: &PodKey,
        agent: &desired::Agent,
        ports: &BTreeMap<SocketAddr, NonZeroU16>,
        now: Instant,
    ) {
        let guarded = self.guard(key, now);
        if agent.ended {
            self.held.remove(key.as_str());
        } else if self.pods[key]
            .facts
            .as_ref()
            .is_some_and(|pod| pod.too_long)
        {
            self.refuse_too_long(key, now);
        } else if guarded {
            self.listen(key, ports, now);
        }
        let classified = self.classify(key, PodState::AGENT);
        let enforced = classified.and_then(|()| self.enforce(key));
        if guarded || !self.attached {
            self.note_kernel(key, enforced, now);
        }
        self.refresh(key, agent);
    }

    /// Without it a process in the pod could listen beside us, so no listener comes before it.
    fn guard(&mut self, key: &PodKey, now: Instant) -> bool {
        let tracked = self.pods.get_mut(key).expect("it was found by its key");
        if tracked.ports_guarded {
            return true;
        }
        if !self.attached || !tracked.attempts.is_due(now) {
            return false;
        }
        if !self.attached {
            tracked.attempts.failed(now);
            return false;
        }
        self.cgroups.follow(&tracked.cgroup);
        let guarded = self.redirect.guard_ports(&tracked.cgroup);
        tracked.ports_guarded = guarded.is_ok();
        self.note_kernel(key, guarded, now);
        self.pods[key].ports_guarded
    }

    fn enforce(&mut self, key: &PodKey) -> Result<(), redirect::Error> {
        let tracked = self.pods.get_mut(key).expect("it was found by its key");
        if self.attached && !tracked.enforced {
            self.redirect.enforce(&tracked.cgroup)?;
            tracked.enforced = true;
        }
        Ok(())
    }

    fn note_kernel(&mut self, key: &PodKey, outcome: Result<(), redirect::Error>, now: Instant) {
        let tracked = self.tracked(key);
        match outcome {
            Ok(()) => tracked.kernel_trouble = None,
            Err(error) => {
                let trouble = causes(&error);
                if tracked.kernel_trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(pod = %key, error = trouble, "a pod is not treated as it should be");
                }
                tracked.kernel_trouble = Some(trouble);
                tracked.attempts.failed(now);
            }
        }
    }

    /// Its message would end the connection to every gateway.
    fn refuse_too_long(&mut self, key: &PodKey, now: Instant) {
        const WHY: &str =
            "no gateway can be told of it: its images' digests are more than a message holds";
        self.held.remove(key.as_str());
        let tracked = self.tracked(key);
        tracked.no_listener = Some(WHY.to_owned());
        if tracked.attempts.is_due(now) {
            tracked.attempts.failed(now);
        }
    }

    /// Opens what is missing of the pod's listeners.
    fn listen(&mut self, key: &PodKey, ports: &BTreeMap<SocketAddr, NonZeroU16>, now: Instant) {
        let missing = self.missing(key, ports);
        let tracked = self.tracked(key);
        if missing.is_empty() {
            tracked.no_listener = None;
            return;
        }
        if !tracked.attempts.is_due(now) {
            return;
        }
        match self.open(key, &missing, ports) {
            Ok(()) => self.opened(key, ports, now),
            Err(error) => {
                let why = causes(&error);
                let tracked = self.tracked(key);
                if tracked.no_listener.as_ref() != Some(&why) {
                    tracing::debug!(pod = %key, why, "no listener in a pod yet");
                }
                tracked.no_listener = Some(why);
                tracked.attempts.failed(now);
            }
        }
    }

    fn missing(
        &self,
        key: &PodKey,
        ports: &BTreeMap<SocketAddr, NonZeroU16>,
    ) -> BTreeMap<SocketAddr, NonZeroU16> {
        let held = self.held.get(key.as_str()).map(|held| &held.listeners);
        let is_held = |destination: &SocketAddr, port: &NonZeroU16| {
            held.and_then(|held| held.get(destination))
                .is_some_and(|listener| listener.port == *port)
        };
        let refused = &self.pods[key].refused;
        ports
            .iter()
            .filter(|(destination, port)| {
                !is_held(destination, port) && !refused.contains_key(*destination)
            })
            .map(|(destination, port)| (*destination, *port))
            .collect()
    }

    fn open(
        &mut self,
        key: &PodKey,
        missing: &BTreeMap<SocketAddr, NonZeroU16>,
        ports: &BTreeMap<SocketAddr, NonZeroU16>,
    ) -> Result<(), NetnsError> {
        let tracked = &self.pods[key];
        let facts = tracked.facts.as_ref().ok_or(NetnsError::NoAddress)?;
        let netns = self.host.netns_of(&tracked.cgroup.path, &facts.ips)?;
        let opened = listeners::open(&netns, missing)?;
        let held = self.held.get(key.as_str());
        let replaced = held.is_some_and(|held| held.pod.netns_cookie != opened.netns_cookie);
        if replaced {
            tracing::info!(pod = %key, "a pod has another network: new listeners");
            self.held.remove(key.as_str());
            let all = Self::open_rest(&netns, ports, opened)?;
            self.hold(key, all);
        } else {
            self.hold(key, opened);
        }
        Ok(())
    }

    fn open_rest(
        netns: &PodNetns,
        ports: &BTreeMap<SocketAddr, NonZeroU16>,
        mut opened: Opened,
    ) -> Result<Opened, NetnsError> {
        let rest = ports
            .iter()
            .filter(|(destination, _)| !opened.listeners.contains_key(*destination))
            .map(|(destination, port)| (*destination, *port))
            .collect();
        let rest = listeners::open(netns, &rest)?;
        opened.listeners.extend(rest.listeners);
        opened.refused = rest.refused;
        opened.in_use = rest.in_use;
        Ok(opened)
    }

    fn hold(&mut self, key: &PodKey, opened: Opened) {
        let tracked = self.pods.get_mut(key).expect("it was found by its key");
        let workload = tracked.facts.as_deref().map(KnownPod::workload);
        // Held by someone else for now, or for good: tried again. What cannot be is looked at again when the pod is.
        tracked.no_listener = opened
            .in_use
            .first()
            .and_then(|_| opened.refused.values().next().cloned());
        tracked.refused = match opened.in_use.is_empty() {
            true => opened.refused,
            false => BTreeMap::new(),
        };
        tracked.canary &= opened.listeners.is_empty();
        if opened.listeners.is_empty() && !self.held.contains_key(key.as_str()) {
            return;
        }
        let held = self
            .held
            .entry(key.as_str().to_owned())
            .or_insert_with(|| Held {
                pod: CapturedPod {
                    workload: workload.unwrap_or_default(),
                    netns_cookie: opened.netns_cookie,
                    needs_recreate: false,
                },
                listeners: BTreeMap::new(),
            });
        held.listeners.extend(opened.listeners);
    }

    fn opened(&mut self, key: &PodKey, ports: &BTreeMap<SocketAddr, NonZeroU16>, now: Instant) {
        let complete = self.missing(key, ports).is_empty();
        let tracked = self.tracked(key);
        tracked.examine_at = now;
        if complete {
            tracked.attempts = Attempts::at(now);
        } else {
            tracked.attempts.failed(now);
        }
    }

    /// What the gateway is told of the pod, up to date.
    fn refresh(&mut self, key: &PodKey, agent: &desired::Agent) {
        let Some(held) = self.held.get_mut(key.as_str()) else {
            return;
        };
        if let Some(facts) = &self.pods[key].facts {
            held.pod.workload = facts.workload();
            held.pod.needs_recreate = agent.needs_recreate.is_some();
        }
    }

    /// The pod is gone: its listeners first, so that its network can go, then what the kernel knows of it.
    pub(super) fn release(&mut self, key: &PodKey) {
        self.held.remove(key.as_str());
        let Some(tracked) = self.pods.remove(key) else {
            return;
        };
        if let Err(error) = self.redirect.forget(tracked.cgroup.id) {
            tracing::warn!(pod = %key, error = causes(&error), "a pod that is gone is not forgotten");
        }
    }

    pub(super) fn tracked(&mut self, key: &PodKey) -> &mut Tracked {
        self.pods.get_mut(key).expect("it was found by its key")
    }
}
