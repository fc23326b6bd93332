//! The listeners inside of agents' pods: which pods there are, and what is served at each.
//!
//! A listener is one pod's and one destination's, so the one that accepts a connection says who is calling and
//! where to, whatever the client sends. The node agent makes listeners and holds them too: a connection that is
//! queued when one gateway stops accepting is the next one's.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

pub use self::process::Question;
use self::{accept::Door, process::Questions};
use super::{Gateway, origin::Pod};
use crate::{
    drain::DrainWatcher,
    handover::{CapturedPod, Listener},
    tls::{Leaves, TlsError},
};

mod accept;
mod process;

/// Why a listener is not served. The node agent goes on holding it, so connections wait until they time out.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    #[error("the pod of the listener was not announced before")]
    UnknownPod,
    #[error("the descriptor is no listening socket")]
    NotListening(#[source] io::Error),
    #[error(
        "{limit} listeners are held already; raise the limit of open files, or name fewer destinations"
    )]
    TooMany { limit: usize },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The captured pods of this node. Cheap to clone.
#[derive(Clone)]
pub struct Captured(Arc<Inner>);

struct Inner {
    gateway: Arc<Gateway>,
    leaves: Leaves,
    most_listeners: usize,
    questions: Questions,
    /// Gone once the drain has begun: listeners are held then, but not served.
    drain: Mutex<Option<DrainWatcher>>,
    pods: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    pod: Arc<Pod>,
    listeners: HashMap<SocketAddr, Open>,
}

struct Open {
    held: HeldListener,
    serving: CancellationToken,
}

/// A listener with what was said of it.
#[derive(Clone)]
pub struct HeldListener {
    pub listener: Listener,
    socket: Arc<TcpListener>,
}

impl AsFd for HeldListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Captured {
    /// Nobody yet. Whoever speaks to the node agent answers the questions, or drops them.
    pub fn new(
        gateway: Arc<Gateway>,
        leaves: Leaves,
        most_listeners: usize,
        drain: DrainWatcher,
    ) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = Questions::new();
        let captured = Self(Arc::new(Inner {
            gateway,
            leaves,
            most_listeners,
            questions,
            drain: Mutex::new(Some(drain)),
            pods: Mutex::default(),
        }));
        (captured, asked)
    }

    /// Waits for the drain. Then nothing is accepted any more, and what was accepted is still served.
    pub async fn serve_until_drain(&self) {
        let draining = lock(&self.0.drain).as_ref().map(DrainWatcher::draining);
        if let Some(draining) = draining {
            draining.await;
        }
        lock(&self.0.drain).take();
    }

    /// A pod, or news of it. With another network namespace it is another pod under the same UID.
    pub fn pod(&self, pod: CapturedPod) {
        let mut pods = self.pods();
        let uid = pod.workload.pod_uid.clone();
        match pods.get(&uid) {
            Some(entry) if entry.pod.known().netns_cookie == pod.netns_cookie => {
                entry.pod.learn(pod);
            }
            _ => {
                let entry = Entry {
                    pod: Arc::new(Pod::new(pod)),
                    listeners: HashMap::new(),
                };
                pods.insert(uid, entry);
            }
        }
        self.note(&pods);
    }

    /// Serves a listener. One for the same destination of the same pod is replaced.
    pub fn listen(&self, listener: Listener, descriptor: OwnedFd) -> Result<(), NotServed> {
        let socket = Arc::new(listening(descriptor).map_err(NotServed::NotListening)?);
        let tls = self
            .0
            .leaves
            .destination(listener.destination, &listener.names)?;
        let mut pods = self.pods();
        let open = pods
            .values()
            .map(|entry| entry.listeners.len())
            .sum::<usize>();
        let entry = pods
            .get_mut(&listener.pod_uid)
            .ok_or(NotServed::UnknownPod)?;
        let destination = listener.destination;
        if open >= self.0.most_listeners && !entry.listeners.contains_key(&destination) {
            return Err(NotServed::TooMany {
                limit: self.0.most_listeners,
            });
        }
        let serving = entry.pod.gone.child_token();
        let drain = lock(&self.0.drain).clone();
        if let Some(drain) = drain {
            let door = Door {
                socket: Arc::clone(&socket),
                pod: Arc::clone(&entry.pod),
                tls,
                gateway: Arc::clone(&self.0.gateway),
                questions: self.0.questions.clone(),
            };
            tokio::spawn(door.serve(serving.clone(), drain));
        }
        let held = HeldListener { listener, socket };
        entry.listeners.insert(destination, Open { held, serving });
        self.note(&pods);
        Ok(())
    }

    /// Closes the listeners of a pod, and ends its connections.
    pub fn gone(&self, pod_uid: &str) {
        let mut pods = self.pods();
        pods.remove(pod_uid);
        self.note(&pods);
    }

    /// Everything held now, for a node agent that has lost it.
    pub fn held(&self) -> Vec<(Arc<CapturedPod>, Vec<HeldListener>)> {
        let held = |entry: &Entry| {
            let listeners = entry.listeners.values();
            let listeners = listeners.map(|open| open.held.clone());
            (entry.pod.known(), listeners.collect())
        };
        self.pods().values().map(held).collect()
    }

    /// Whether the node agent is there to ask.
    pub fn node_agent(&self, is_there: bool) {
        self.0.gateway.metrics().node_agent.set(is_there.into());
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        lock(&self.0.pods)
    }

    fn note(&self, pods: &HashMap<String, Entry>) {
        let listeners: usize = pods.values().map(|entry| entry.listeners.len()).sum();
        let metrics = self.0.gateway.metrics();
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.captured_pods.set(gauge(pods.len()));
        metrics.captured_listeners.set(gauge(listeners));
    }
}

/// Of a pod that is gone, or has been replaced by one of another network namespace.
impl Drop for Entry {
    fn drop(&mut self) {
        self.pod.gone.cancel();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.cancel();
    }
}

fn listening(descriptor: OwnedFd) -> io::Result<TcpListener> {
    if !getsockopt(&descriptor, AcceptConn)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_listening_socket_is_served() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(address).expect("it listens");
        let error = listening(client.into()).expect_err("it is connected");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let served = listening(listener.into()).expect("it listens");
        let waiting = served.accept().await.expect("the client is in the queue");
        assert!(waiting.1.ip().is_loopback());
    }
}
