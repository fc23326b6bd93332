//! The one task that decides and acts: it compares what should be with what is, and changes what differs.
//!
//! Everything else only tells it that something may have changed. It then looks at all pods again, which for a few
//! hundred costs less than a missed event. The order for a pod that becomes an agent:
//!
//! bind guard → listeners → `PODS` = agent → connect and egress links → canary → captured.
//!
//! And for one that ends: listeners, then what the kernel knows of it. A listener that cannot be opened does not hold
//! up the rest: the pod's connections then arrive where nobody listens, which refuses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    observation::Observation,
    report::Report,
    telling::Peers,
    tracked::{Attempts, Tracked},
};
use super::{
    NodeError,
    cgroups::Cgroups,
    destinations::Destinations,
    informers::Informers,
    layout::PodKey,
    listeners::Held,
    netns::Host,
    peers::{PeerEvent, Said},
    ports::PortTable,
};
use crate::{
    config::node::NodeConfig,
    redirect::{
        self, Action, CgroupId, Guarded, ListenerPort, OrigDstAddr, PodCgroup, PodState, Redirect,
    },
    telemetry::causes,
};

mod observation;
mod report;
mod settling;
mod telling;
mod tracked;

pub(super) use self::report::Outputs;

/// How long a node agent that starts waits for a gateway to bring back what it holds.
const GATEWAY_COMES: Duration = Duration::from_secs(3);
/// And for one that has come to bring all of it.
const GATEWAY_TELLS: Duration = Duration::from_secs(10);

/// What the agent is told by others.
pub(super) struct Inputs {
    pub(super) changed: Arc<Notify>,
    pub(super) informers: Informers,
    pub(super) destinations: watch::Receiver<Arc<Destinations>>,
    pub(super) peers: mpsc::Receiver<PeerEvent>,
}

/// The kernel's two lists of destinations: which are led where, and which no packet may go to.
type Led = (BTreeMap<OrigDstAddr, Action>, BTreeSet<Guarded>);

pub(super) struct Agent {
    config: Arc<NodeConfig>,
    host: Host,
    redirect: Redirect,
    cgroups: Cgroups,
    informers: Informers,
    destinations: watch::Receiver<Arc<Destinations>>,
    pods: BTreeMap<PodKey, Tracked>,
    /// By pod UID. Of a pod that the API server has not told of yet, too: a gateway brought it back.
    held: BTreeMap<String, Held>,
    ports: PortTable,
    /// What the kernel was told last.
    led: Option<Led>,
    /// Until then nothing is attached to pods either: their programs would let pass what is in no list yet, in the
    /// place of an earlier version's that have theirs.
    attached: bool,
    peers: Peers,
    /// Until then a gateway may still bring back a listener, which cannot be opened a second time.
    hold_until: Instant,
    observation: Observation,
    report: Report,
}

/// How the agent came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// SIGTERM: everything stays as it is.
    Stopped,
    /// Another node agent has everything now.
    Superseded,
}

impl Agent {
    pub(super) fn new(
        config: Arc<NodeConfig>,
        host: Host,
        redirect: Redirect,
        cgroups: Cgroups,
        inputs: &Inputs,
        outputs: Outputs,
    ) -> Self {
        let now = Instant::now();
        Self {
            ports: PortTable::new(config.ports),
            host,
            redirect,
            cgroups,
            informers: inputs.informers.clone(),
            destinations: inputs.destinations.clone(),
            pods: BTreeMap::new(),
            held: BTreeMap::new(),
            led: None,
            attached: false,
            peers: Peers::default(),
            hold_until: now,
            observation: Observation::new(now),
            report: Report::new(outputs),
            config,
        }
    }

    /// Before anything is attached our own pod passes, whatever is known of it. Then the kernel's part goes on, or
    /// begins, with what it was told before.
    pub(super) fn begin(&mut self, inherited: Option<Vec<Said>>) -> Result<(), NodeError> {
        let now = Instant::now();
        // Who begins without them would take every pod for gone.
        let cgroups = self.cgroups.list().map_err(NodeError::Cgroups)?;
        self.see(cgroups, now);
        // Before our own pod is written there, which proves nothing.
        let is_told = self.redirect.is_told()?;
        if let Some(own) = &self.config.own_pod {
            let key = PodKey::Uid(own.uid.clone());
            if self.pods.contains_key(&key) {
                self.classify(&key, PodState::PASS)?;
            } else {
                tracing::warn!(uid = own.uid, "our own pod has no cgroup below kubepods");
            }
        }
        self.remember()?;
        // Without the lists the programs would let everything pass: they come with them, and until then those of an
        // earlier version work on, with the maps that they had.
        if is_told {
            self.redirect.attach()?;
            self.attached = true;
        }
        match inherited {
            Some(inherited) => self.inherit(inherited),
            // What runs already may have listeners that a gateway holds: it gets time to bring them back.
            None if self
                .pods
                .values()
                .any(|pod| pod.classified == Some(PodState::AGENT)) =>
            {
                self.hold_until = now + GATEWAY_COMES;
            }
            None => {}
        }
        Ok(())
    }

    /// What an earlier node agent told the kernel, if there was one. Pods that have gone since are forgotten; one that
    /// is not listed and that our links are on has not gone.
    fn remember(&mut self) -> Result<(), redirect::Error> {
        for (destination, action) in self.redirect.destinations()? {
            if let Action::Redirect(port) = action {
                self.ports.adopt(destination.into(), port.into());
            }
        }
        let mut classified = self.redirect.classified()?;
        for tracked in self.pods.values_mut() {
            if let Some(state) = classified.remove(&tracked.cgroup.id) {
                tracked.classified = Some(state);
            }
        }
        for gone in classified.into_keys() {
            if !self.redirect.is_linked(gone)? {
                self.redirect.forget(gone)?;
            }
        }
        Ok(())
    }

    pub(super) async fn run(mut self, mut inputs: Inputs, shutdown: CancellationToken) -> End {
        let mut destinations_are_told = true;
        let mut something_happened = true;
        loop {
            if something_happened {
                self.converge(Instant::now());
            }
            something_happened = true;
            let wake = sleep_until(self.wakes_at());
            tokio::select! {
                () = shutdown.cancelled() => return End::Stopped,
                () = inputs.changed.notified() => {}
                told = inputs.destinations.changed(), if destinations_are_told => {
                    // What was told last stays in force.
                    destinations_are_told = told.is_ok();
                    let stale = "the list of destinations is not kept up to date any more: restart the node agent";
                    self.report.set_problem("destinations", told.is_err().then(|| stale.to_owned()));
                }
                said = inputs.peers.recv() => {
                    let Some(said) = said else { return End::Stopped };
                    // One comes for every connection of an agent, and must not cost a look at all pods.
                    something_happened = !said.is_question();
                    if self.hear(said, &mut inputs.peers).await == Some(End::Superseded) {
                        return End::Superseded;
                    }
                }
                found = self.observation.finished() => self.learn(found, Instant::now()),
                () = wake => {}
            }
        }
    }

    /// Makes what is into what should be, as far as it goes now.
    fn converge(&mut self, now: Instant) {
        self.look(now);
        self.reconsider(now);
        let keys: Vec<PodKey> = self.pods.keys().cloned().collect();
        let ports = self.ports_wanted(now);
        for key in &keys {
            self.settle(key, &ports, now);
        }
        let was_attached = self.attached;
        self.lead(&ports);
        if self.attached && !was_attached {
            for key in &keys {
                self.tracked(key).attempts = Attempts::at(now);
                self.settle(key, &ports, now);
            }
        }
        self.observe(now);
        self.tell();
        self.say(now);
    }

    /// Which pods there are, and what is said of them.
    fn look(&mut self, now: Instant) {
        match self.cgroups.list() {
            Ok(cgroups) => {
                self.report.solved("cgroups");
                self.see(cgroups, now);
            }
            Err(error) => {
                let problem = format!("the cgroups of pods cannot be read: {error}");
                self.report.problem("cgroups", &problem);
            }
        }
    }

    fn see(&mut self, cgroups: BTreeMap<PodKey, PodCgroup>, now: Instant) {
        let ids: BTreeMap<PodKey, CgroupId> = cgroups
            .iter()
            .map(|(key, pod)| (key.clone(), pod.id))
            .collect();
        let gone: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(key, tracked)| ids.get(*key) != Some(&tracked.cgroup.id))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.release(&key);
        }
        self.held
            .retain(|uid, _| ids.contains_key(&PodKey::Uid(uid.clone())));
        for (key, cgroup) in cgroups {
            self.pods
                .entry(key)
                .or_insert_with(|| Tracked::new(cgroup, now));
        }
        self.follow_facts(now);
    }

    /// The port of every destination. None as long as a gateway may still say which it was.
    fn ports_wanted(&mut self, now: Instant) -> BTreeMap<SocketAddr, NonZeroU16> {
        let destinations = Arc::clone(&self.destinations.borrow());
        if now < self.hold_until || destinations.redirected.is_empty() {
            return BTreeMap::new();
        }
        self.ports.keep(
            |destination| destinations.redirected.contains_key(destination),
            now,
        );
        let open = self.held.values().flat_map(|held| held.listeners.values());
        let open = open.map(|listener| listener.port).collect();
        let mut ports = BTreeMap::new();
        let mut lacking = 0;
        for destination in destinations.redirected.keys() {
            match self.ports.port_of(*destination, &open, now) {
                Some(port) => drop(ports.insert(*destination, port)),
                None => lacking += 1,
            }
        }
        let count = self.config.ports.count;
        self.report.set_problem("ports", (lacking > 0).then(|| {
            format!("{lacking} destinations have no port and are denied: raise ports.count above {count}")
        }));
        ports
    }

    /// Leads connections to where listeners are by now. Who has none there is refused.
    fn lead(&mut self, ports: &BTreeMap<SocketAddr, NonZeroU16>) {
        // Before every pod that runs is classified, profile `dedicated` would refuse those that are no agents.
        if ports.is_empty() || !self.informers.are_synced() {
            return;
        }
        let destinations = Arc::clone(&self.destinations.borrow());
        let action = |destination| match ports.get(destination) {
            Some(port) => Action::Redirect(ListenerPort::new(*port)),
            None => Action::Deny,
        };
        let wanted: BTreeMap<OrigDstAddr, Action> = destinations
            .redirected
            .keys()
            .map(|destination| (OrigDstAddr::new(*destination), action(destination)))
            .collect();
        let wanted = (wanted, destinations.guarded.clone());
        if self.led.as_ref() == Some(&wanted) {
            return;
        }
        let told = self
            .redirect
            .set_destinations(&wanted.0)
            .and_then(|()| self.redirect.set_guarded(&wanted.1))
            .and_then(|()| self.attach());
        match told {
            Ok(()) => {
                tracing::info!(
                    destinations = wanted.0.len(),
                    guarded = wanted.1.len(),
                    "leading connections to the gateway"
                );
                self.led = Some(wanted);
                self.report.solved("kernel list");
            }
            Err(error) => {
                let problem = format!(
                    "the kernel does not take the list of destinations: {}",
                    causes(&error)
                );
                self.report.problem("kernel list", &problem);
            }
        }
    }

    fn attach(&mut self) -> Result<(), redirect::Error> {
        if !self.attached {
            self.redirect.attach()?;
            self.attached = true;
        }
        Ok(())
    }

    fn wakes_at(&self) -> Instant {
        let pods = self.pods.values().filter_map(Tracked::wakes_at);
        let hold = (self.hold_until > Instant::now()).then_some(self.hold_until);
        let observe = self.observation.due();
        pods.chain(hold).fold(observe, Instant::min)
    }

    fn classify(&mut self, key: &PodKey, state: PodState) -> Result<(), redirect::Error> {
        let tracked = self.pods.get_mut(key).expect("it was found by its key");
        if tracked.classified == Some(state) {
            return Ok(());
        }
        self.redirect.classify(tracked.cgroup.id, state)?;
        tracked.classified = Some(state);
        tracing::debug!(pod = %key, ?state, "classified");
        Ok(())
    }
}
