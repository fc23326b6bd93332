//! What is really there, compared with what should be: links on the expected cgroups, listeners in each pod's network
//! of this moment, and a canary's connection to them. A pin or an entry that exists proves nothing.
//!
//! Pods are looked at beside everything else, on a thread of its own: a pod that answers slowly holds up nobody.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    Agent,
    tracked::{Attempts, Tracked},
};
use crate::node::{
    desired::Desired,
    layout::PodKey,
    listeners::{self, Expected, Found, Held},
    netns::{Host, NetnsError},
    pods::KnownPod,
};
use crate::{redirect::Observed, telemetry::causes};

/// Of a pod in which containers come and go.
const SOON: Duration = Duration::from_millis(300);
/// After something was not as it should be.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Observation {
    /// When the kernel is asked next.
    kernel_at: Instant,
    /// The earliest of the pods' turns.
    pods_at: Instant,
    running: Option<JoinHandle<Vec<Examined>>>,
}

/// A pod to be looked at.
struct Subject {
    key: PodKey,
    cgroup: PathBuf,
    facts: Arc<KnownPod>,
    expected: Expected,
}

pub(super) struct Examined {
    key: PodKey,
    expected: Expected,
    found: Result<Found, NetnsError>,
}

impl Observation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            kernel_at: now,
            pods_at: now,
            running: None,
        }
    }

    pub(super) fn due(&self) -> Instant {
        match self.running {
            Some(_) => self.kernel_at,
            None => self.kernel_at.min(self.pods_at),
        }
    }

    /// Never, where nothing runs. Safe to cancel.
    pub(super) async fn finished(&mut self) -> Vec<Examined> {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let found = running.await;
        self.running = None;
        found.unwrap_or_else(|error| {
            tracing::error!(%error, "looking at pods has failed");
            Vec::new()
        })
    }
}

impl Agent {
    /// What could not be listened for may be possible by now.
    pub(super) fn reconsider(&mut self, now: Instant) {
        if now >= self.observation.kernel_at {
            self.pods
                .values_mut()
                .for_each(|tracked| tracked.refused.clear());
        }
    }

    /// Starts what is due.
    pub(super) fn observe(&mut self, now: Instant) {
        if now >= self.observation.kernel_at {
            self.observe_kernel(now);
        }
        let subjects = match self.observation.running {
            Some(_) => return,
            None => self.due_for_a_look(now),
        };
        let turns = self.pods.iter().filter_map(|(key, tracked)| {
            subject(key, tracked, &self.held).map(|_| tracked.examine_at)
        });
        self.observation.pods_at = turns.min().unwrap_or(self.observation.kernel_at);
        if subjects.is_empty() {
            return;
        }
        let host = self.host.clone();
        let look = move || {
            subjects
                .into_iter()
                .map(|subject| subject.examine(&host))
                .collect()
        };
        self.observation.running = Some(tokio::task::spawn_blocking(look));
    }

    fn observe_kernel(&mut self, now: Instant) {
        let observed = self.redirect.observe();
        let troubles: Vec<String> = match &observed {
            Ok(observed) => troubles(observed),
            Err(error) => vec![causes(error)],
        };
        self.report.mismatches(troubles.len());
        let repaired = match troubles.is_empty() {
            true => Ok(()),
            false => self.redirect.repair().map(drop),
        };
        let mut problem = troubles.join("; ");
        match repaired {
            Ok(()) if !problem.is_empty() => tracing::warn!(problem, "repaired what is attached"),
            Ok(()) => {}
            Err(error) => {
                problem = format!("{problem}; it cannot be repaired: {}", causes(&error));
                tracing::error!(problem, "what is attached is not as it should be");
            }
        }
        // What was repaired counts until it has been seen to be so.
        let again = if problem.is_empty() {
            self.config.reconcile_interval
        } else {
            AGAIN
        };
        self.report
            .set_problem("links", (!problem.is_empty()).then_some(problem));
        self.observation.kernel_at = now + again.min(self.config.reconcile_interval);
        self.report.decisions(self.redirect.decisions().ok());
        match self.redirect.api_connections() {
            Ok(counts) => self.report.api_connections = counts,
            Err(error) => tracing::warn!(
                error = causes(&error),
                "connections to the API server are not counted"
            ),
        }
    }

    fn due_for_a_look(&mut self, now: Instant) -> Vec<Subject> {
        let mut due = Vec::new();
        for (key, tracked) in &mut self.pods {
            if now < tracked.examine_at {
                continue;
            }
            if let Some(mut subject) = subject(key, tracked, &self.held) {
                subject.expected.connect = !tracked.canary || self.peers.gateways() > 0;
                tracked.examine_at = now + self.config.reconcile_interval;
                due.push(subject);
            }
        }
        due
    }

    pub(super) fn learn(&mut self, examined: Vec<Examined>, now: Instant) {
        for examined in examined {
            self.learn_of(examined, now);
        }
    }

    fn learn_of(&mut self, examined: Examined, now: Instant) {
        let key = examined.key;
        // Meanwhile it may have gone, or got other listeners.
        let same = self
            .held
            .get(key.as_str())
            .is_some_and(|held| held.pod.netns_cookie == examined.expected.netns_cookie);
        if !same || !self.pods.contains_key(&key) {
            return;
        }
        let tracked = self.tracked(&key);
        if now < tracked.restless_until {
            tracked.examine_at = tracked.examine_at.min(now + SOON);
        }
        match examined.found {
            Ok(Found::AsExpected) => {
                (tracked.canary, tracked.mismatch) = (true, None);
                // Opened meanwhile, and not looked at.
                let listeners = &self.held[key.as_str()].listeners;
                if listeners.len() > examined.expected.listeners.len() {
                    self.tracked(&key).examine_at = now;
                }
            }
            Ok(Found::OtherNetwork) | Err(NetnsError::NoProcess) => self.drop_listeners(&key, now),
            Ok(Found::Others(others)) => {
                let destinations: Vec<SocketAddr> = others.keys().copied().collect();
                self.differs(&key, others.into_values().next().unwrap_or_default(), now);
                if let Some(held) = self.held.get_mut(key.as_str()) {
                    held.listeners
                        .retain(|destination, _| !destinations.contains(destination));
                }
            }
            Ok(Found::Silent(why)) => self.differs(&key, why, now),
            Err(error) => self.differs(&key, causes(&error), now),
        }
    }

    /// A sandbox was replaced or has ended. Its listeners are all that still hold its old network.
    fn drop_listeners(&mut self, key: &PodKey, now: Instant) {
        self.held.remove(key.as_str());
        let tracked = self.tracked(key);
        tracing::info!(pod = %key, "a pod's network is gone");
        (tracked.canary, tracked.mismatch) = (false, None);
        tracked.no_listener = Some("its network is gone".to_owned());
        tracked.refused.clear();
        tracked.attempts = Attempts::at(now);
    }

    fn differs(&mut self, key: &PodKey, why: String, now: Instant) {
        tracing::warn!(pod = %key, why, "a pod's listeners are not as they should be");
        self.report.mismatches(1);
        let tracked = self.tracked(key);
        (tracked.canary, tracked.mismatch) = (false, Some(why));
        tracked.examine_at = now + AGAIN;
        tracked.attempts = Attempts::at(now);
    }
}

fn troubles(observed: &Observed) -> Vec<String> {
    let links = observed.troubles.iter().map(ToString::to_string);
    let maps = observed.unpinned_maps.iter();
    links
        .chain(maps.map(|map| format!("the pin of the map {map} is gone")))
        .collect()
}

/// What is to be found in a pod; none where no listener of ours is in it, or nothing says which network is its own.
fn subject(key: &PodKey, tracked: &Tracked, held: &BTreeMap<String, Held>) -> Option<Subject> {
    let held = held
        .get(key.as_str())
        .filter(|held| !held.listeners.is_empty())?;
    let (Desired::Agent(_), Some(facts)) = (&tracked.desired, &tracked.facts) else {
        return None;
    };
    let listeners = held.listeners.iter();
    Some(Subject {
        key: key.clone(),
        cgroup: tracked.cgroup.path.clone(),
        facts: Arc::clone(facts),
        expected: Expected {
            netns_cookie: held.pod.netns_cookie,
            listeners: listeners
                .map(|(destination, listener)| (*destination, (listener.port, listener.inode)))
                .collect(),
            connect: false,
        },
    })
}

impl Subject {
    fn examine(self, host: &Host) -> Examined {
        let netns = host.netns_of(&self.cgroup, &self.facts.ips);
        let found = netns.and_then(|netns| listeners::examine(&netns, &self.expected));
        Examined {
            key: self.key,
            expected: self.expected,
            found,
        }
    }
}
