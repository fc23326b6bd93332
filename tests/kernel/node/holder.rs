use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use harness::eventually;
use nix::sys::stat::fstat;
use sallyport::handover::{CapturedPod, Listener, Message, PROTOCOL, Role, Sender, channel};
use tokio::{net::UnixStream, sync::oneshot, time::sleep};

use super::LIMIT;

/// What a client in a pod reads once it has come through.
pub(crate) const GREETING: &str = "the gateway";

/// Holds listeners as a gateway does, through every end of the node agent, and greets who connects.
pub(crate) struct Holder {
    holding: Arc<Mutex<Holding>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Holding {
    pods: BTreeMap<String, CapturedPod>,
    listeners: BTreeMap<(String, SocketAddr), Held>,
}

struct Held {
    listener: Listener,
    socket: TcpListener,
    inode: u64,
}

impl Holder {
    pub(crate) fn connect(socket: &Path) -> Self {
        let holding = Arc::new(Mutex::new(Holding::default()));
        let (stop, stopped) = oneshot::channel();
        let (held, socket) = (Arc::clone(&holding), socket.to_owned());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = keep_connected(&socket, &held) => {}
                    () = greet(&held) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            holding,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The number of every socket held.
    pub(crate) fn sockets(&self) -> BTreeSet<u64> {
        let holding = self.holding.lock().unwrap();
        holding.listeners.values().map(|held| held.inode).collect()
    }

    pub(crate) fn eventually_holds(&self, count: usize) {
        let holds = || Ok((self.sockets().len() == count).then_some(()));
        eventually(&format!("a holder of {count} listeners"), LIMIT, holds).unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        self.holding.lock().unwrap().listeners.clear();
    }
}

async fn keep_connected(socket: &PathBuf, holding: &Mutex<Holding>) {
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            talk(stream, holding).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Until the node agent is gone. What it gave stays.
async fn talk(stream: UnixStream, holding: &Mutex<Holding>) {
    let (mut sender, mut receiver) = channel(stream);
    if bring_back(&mut sender, holding).await.is_none() {
        return;
    }
    while let Ok(Some((message, socket))) = receiver.receive().await {
        let mut holding = holding.lock().unwrap();
        match (message, socket) {
            (Message::Pod(pod), None) => {
                holding.pods.insert(pod.workload.pod_uid.clone(), pod);
            }
            (Message::Listener(listener), Some(socket)) => holding.hold(listener, socket),
            (Message::Gone { pod_uid }, None) => {
                holding.pods.remove(&pod_uid);
                holding.listeners.retain(|(uid, _), _| *uid != pod_uid);
            }
            (Message::Hello { protocol, role }, None) => {
                assert_eq!((protocol, role), (PROTOCOL, Role::Node));
            }
            (Message::Synced, None) => {}
            (message, _) => panic!("{message:?} is not for a gateway"),
        }
    }
}

async fn bring_back(sender: &mut Sender, holding: &Mutex<Holding>) -> Option<()> {
    let hello = Message::Hello {
        protocol: PROTOCOL,
        role: Role::Gateway,
    };
    sender.send(&hello, None).await.ok()?;
    let (pods, listeners) = {
        let holding = holding.lock().unwrap();
        let pods: Vec<_> = holding.pods.values().cloned().collect();
        let listeners: Vec<_> = holding
            .listeners
            .values()
            .map(|held| (held.listener.clone(), held.socket.try_clone().unwrap()))
            .collect();
        (pods, listeners)
    };
    for pod in pods {
        sender.send(&Message::Pod(pod), None).await.ok()?;
    }
    for (listener, socket) in listeners {
        use std::os::fd::AsFd as _;
        let socket = Some(socket.as_fd());
        sender
            .send(&Message::Listener(listener), socket)
            .await
            .ok()?;
    }
    sender.send(&Message::Synced, None).await.ok()
}

impl Holding {
    fn hold(&mut self, listener: Listener, socket: OwnedFd) {
        assert!(
            self.pods.contains_key(&listener.pod_uid),
            "a pod comes before its listeners"
        );
        let inode = fstat(&socket).unwrap().st_ino;
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true).unwrap();
        let key = (listener.pod_uid.clone(), listener.destination);
        let held = Held {
            listener,
            socket,
            inode,
        };
        self.listeners.insert(key, held);
    }
}

async fn greet(holding: &Mutex<Holding>) {
    loop {
        for held in holding.lock().unwrap().listeners.values() {
            while let Ok((mut client, _)) = held.socket.accept() {
                // A client that has gone already is the client's failure to report.
                let _ = client.write_all(GREETING.as_bytes());
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}
