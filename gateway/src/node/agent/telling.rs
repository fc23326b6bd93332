//! What other holders are told, and what they bring back: each is sent what it lacks of what is held here.

use std::{collections::BTreeMap, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use super::{Agent, End, GATEWAY_TELLS};
use crate::{
    handover::{CapturedPod, Listener, Message, Role},
    identity::Process,
    node::{
        layout::PodKey,
        listeners::{Held, HeldListener},
        peers::{Outgoing, PeerEvent, PeerId, Said},
    },
    telemetry::causes,
};

/// More than any node runs. A gateway is not trusted with this process's memory.
const MOST_PODS: usize = sallyport_common::MAX_PODS as usize;

#[derive(Default)]
pub(super) struct Peers(BTreeMap<PeerId, Peer>);

/// Another holder, and what it has.
struct Peer {
    role: Role,
    queue: mpsc::Sender<Outgoing>,
    /// It has said all that it held when it came.
    has_told: bool,
    /// And was told all in turn.
    was_told: bool,
    knows: BTreeMap<String, Known>,
}

/// What a peer has of one pod: the number of each socket, and the names it was sent with.
#[derive(Default)]
struct Known {
    pod: Option<CapturedPod>,
    listeners: BTreeMap<SocketAddr, (u64, Vec<String>)>,
}

impl Peers {
    pub(super) fn gateways(&self) -> usize {
        self.0
            .values()
            .filter(|peer| peer.role == Role::Gateway)
            .count()
    }

    fn all_have_told(&self) -> bool {
        self.0.values().all(|peer| peer.has_told)
    }
}

impl Agent {
    pub(super) async fn hear(
        &mut self,
        event: PeerEvent,
        events: &mut mpsc::Receiver<PeerEvent>,
    ) -> Option<End> {
        match event {
            PeerEvent::Arrived(id, role, queue) => self.arrived(id, role, queue),
            PeerEvent::Left(id) => {
                self.peers.0.remove(&id);
                self.stop_holding_back();
            }
            PeerEvent::Said(id, message, socket) => {
                let role = self.peers.0.get(&id)?.role;
                match (message, role) {
                    (Message::Synced, Role::Node) => {
                        self.hand_over(id, events).await;
                        return Some(End::Superseded);
                    }
                    (message, Role::Gateway) => self.heard(id, message, socket),
                    (_, Role::Node) => {}
                }
            }
        }
        None
    }

    fn arrived(&mut self, id: PeerId, role: Role, queue: mpsc::Sender<Outgoing>) {
        let now = Instant::now();
        if now < self.hold_until {
            self.hold_until = now + GATEWAY_TELLS;
        }
        tracing::info!(?role, "a peer has connected");
        let peer = Peer {
            role,
            queue,
            has_told: false,
            was_told: false,
            knows: BTreeMap::new(),
        };
        self.peers.0.insert(id, peer);
    }

    fn heard(&mut self, id: PeerId, message: Message, socket: Option<OwnedFd>) {
        match (message, socket) {
            (Message::Pod(pod), None) => self.heard_of_pod(Some(id), pod),
            (Message::Listener(listener), Some(socket)) => {
                self.heard_of_listener(Some(id), listener, socket);
            }
            (Message::Synced, None) => {
                if let Some(peer) = self.peers.0.get_mut(&id) {
                    peer.has_told = true;
                }
                self.stop_holding_back();
            }
            (
                Message::Asking {
                    id: question,
                    netns_cookie,
                    peer,
                },
                None,
            ) => {
                let process = self.process(netns_cookie, peer);
                let answer = Message::Process {
                    id: question,
                    process,
                };
                if let Some(peer) = self.peers.0.get(&id) {
                    // A gateway that asks faster than it reads goes without: the record has a detail less.
                    let _ = peer.queue.try_send(Outgoing {
                        message: answer,
                        socket: None,
                    });
                }
            }
            (message, _) => tracing::warn!(?message, "a gateway said what only a node agent says"),
        }
    }

    /// All who came have brought what they held. Before anybody has come there may still be one.
    fn stop_holding_back(&mut self) {
        if self.peers.gateways() > 0 && self.peers.all_have_told() {
            self.hold_until = self.hold_until.min(Instant::now());
        }
    }

    /// What the node agent before this one handed over.
    pub(super) fn inherit(&mut self, inherited: Vec<Said>) {
        for said in inherited {
            match said {
                (Message::Pod(pod), None) => self.heard_of_pod(None, pod),
                (Message::Listener(listener), Some(socket)) => {
                    self.heard_of_listener(None, listener, socket);
                }
                _ => {}
            }
        }
    }

    fn heard_of_pod(&mut self, by: Option<PeerId>, pod: CapturedPod) {
        let uid = pod.workload.pod_uid.clone();
        if let Some(known) = self.known_by(by, &uid) {
            known.pod = Some(pod.clone());
        }
        if self.held.len() < MOST_PODS && !uid.is_empty() {
            self.held.entry(uid).or_insert_with(|| Held {
                pod,
                listeners: BTreeMap::new(),
            });
        }
    }

    fn heard_of_listener(&mut self, by: Option<PeerId>, listener: Listener, socket: OwnedFd) {
        let uid = listener.pod_uid.clone();
        match self.adopt(&listener, socket) {
            Ok(inode) => {
                if let Some(known) = self.known_by(by, &uid) {
                    known
                        .listeners
                        .insert(listener.destination, (inode, listener.names));
                }
            }
            Err(why) => {
                tracing::info!(pod = uid, destination = %listener.destination, why, "a listener that came back is closed");
            }
        }
    }

    fn known_by(&mut self, by: Option<PeerId>, uid: &str) -> Option<&mut Known> {
        let peer = self.peers.0.get_mut(&by?)?;
        if peer.knows.len() >= MOST_PODS && !peer.knows.contains_key(uid) {
            return None;
        }
        Some(peer.knows.entry(uid.to_owned()).or_default())
    }

    /// The number of the socket, if it is one that this agent would have opened.
    fn adopt(&mut self, listener: &Listener, socket: OwnedFd) -> Result<u64, String> {
        let held = self
            .held
            .get_mut(&listener.pod_uid)
            .ok_or("its pod was not named before it")?;
        let destination = listener.destination;
        let adopted = HeldListener::adopt(socket, destination, held.pod.netns_cookie)
            .map_err(|error| error.to_string())?;
        let inode = adopted.inode;
        match held.listeners.get(&destination) {
            // Another gateway brought it before, or it is another of the same pod's.
            Some(known) if known.inode == inode => Ok(inode),
            Some(_) => Err("there is another one".to_owned()),
            None if !self.ports.adopt(destination, adopted.port) => {
                Err("its port stands for another destination".to_owned())
            }
            None => {
                held.listeners.insert(destination, adopted);
                let key = PodKey::Uid(listener.pod_uid.clone());
                if let Some(tracked) = self.pods.get_mut(&key) {
                    tracked.stir(Instant::now());
                }
                Ok(inode)
            }
        }
    }

    fn process(&self, netns_cookie: u64, peer: SocketAddr) -> Option<Process> {
        let pid = match self.redirect.connected_process(netns_cookie, peer) {
            Ok(pid) => pid?,
            Err(error) => {
                tracing::warn!(
                    error = causes(&error),
                    "who made a connection cannot be told"
                );
                return None;
            }
        };
        Some(Process {
            pid: i32::try_from(pid).ok()?,
            exe: self.host.exe(pid),
        })
    }

    /// Sends every gateway what it lacks, as far as its queue has room. It is told the rest once it has read that.
    pub(super) fn tell(&mut self) {
        let names = Arc::clone(&self.destinations.borrow());
        let names = |destination: &SocketAddr| {
            names
                .redirected
                .get(destination)
                .cloned()
                .unwrap_or_default()
        };
        let holding_back = Instant::now() < self.hold_until;
        for peer in self.peers.0.values_mut() {
            if peer.role == Role::Gateway && peer.has_told && !holding_back {
                peer.tell(&self.held, &names);
            }
        }
    }

    /// Everything goes to the node agent that takes over. This one has stopped acting before the last word.
    async fn hand_over(&mut self, id: PeerId, events: &mut mpsc::Receiver<PeerEvent>) {
        tracing::info!("another node agent takes over");
        events.close();
        let Some(peer) = self.peers.0.remove(&id) else {
            return;
        };
        for held in self.held.values() {
            let pod = Message::Pod(held.pod.clone());
            let listeners = held.listeners.iter().map(|(destination, listener)| {
                let message = Message::Listener(Listener {
                    pod_uid: held.pod.workload.pod_uid.clone(),
                    destination: *destination,
                    names: Vec::new(),
                });
                (message, Some(Arc::clone(&listener.socket)))
            });
            for (message, socket) in [(pod, None)].into_iter().chain(listeners) {
                if peer.queue.send(Outgoing { message, socket }).await.is_err() {
                    return;
                }
            }
        }
        // The other side has gone where it fails: then it comes back as one that found nobody.
        let _ = peer
            .queue
            .send(Outgoing {
                message: Message::Synced,
                socket: None,
            })
            .await;
        let _ = tokio::time::timeout(GATEWAY_TELLS, peer.queue.closed()).await;
    }
}

impl Peer {
    fn tell(&mut self, held: &BTreeMap<String, Held>, names: &impl Fn(&SocketAddr) -> Vec<String>) {
        let gone: Vec<String> = self
            .knows
            .iter()
            .filter(|(uid, known)| held.get(*uid).is_none_or(|held| known.is_of_another(held)))
            .map(|(uid, _)| uid.clone())
            .collect();
        for pod_uid in gone {
            if !self.say(
                Message::Gone {
                    pod_uid: pod_uid.clone(),
                },
                None,
            ) {
                return;
            }
            self.knows.remove(&pod_uid);
        }
        for (uid, held) in held.iter().filter(|(_, held)| !held.listeners.is_empty()) {
            if !self.tell_pod(uid, held, names) {
                return;
            }
        }
        if !self.was_told && self.say(Message::Synced, None) {
            self.was_told = true;
        }
    }

    /// False where the queue is full.
    fn tell_pod(
        &mut self,
        uid: &str,
        held: &Held,
        names: &impl Fn(&SocketAddr) -> Vec<String>,
    ) -> bool {
        let known = self.knows.get(uid);
        if known.and_then(|known| known.pod.as_ref()) != Some(&held.pod) {
            if !self.say(Message::Pod(held.pod.clone()), None) {
                return false;
            }
            self.knows.entry(uid.to_owned()).or_default().pod = Some(held.pod.clone());
        }
        for (destination, listener) in &held.listeners {
            let now = (listener.inode, names(destination));
            let known = self.knows.get(uid);
            if known.and_then(|known| known.listeners.get(destination)) == Some(&now) {
                continue;
            }
            let message = Message::Listener(Listener {
                pod_uid: uid.to_owned(),
                destination: *destination,
                names: now.1.clone(),
            });
            if !self.say(message, Some(Arc::clone(&listener.socket))) {
                return false;
            }
            let known = self.knows.entry(uid.to_owned()).or_default();
            known.listeners.insert(*destination, now);
        }
        true
    }

    fn say(&self, message: Message, socket: Option<Arc<OwnedFd>>) -> bool {
        self.queue.try_send(Outgoing { message, socket }).is_ok()
    }
}

impl Known {
    /// What the peer has is of a network that the pod has not any more: then it is told that the pod went and came.
    fn is_of_another(&self, held: &Held) -> bool {
        let cookie = self.pod.as_ref().map(|pod| pod.netns_cookie);
        cookie.is_some_and(|cookie| cookie != held.pod.netns_cookie)
    }
}
