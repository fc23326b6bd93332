//! A node agent that a test plays: it makes listeners where the test is, and hands them to a gateway.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use sallyport::{
    handover::{CapturedPod, Listener, Message, PROTOCOL, Receiver, Role, Sender, channel},
    identity::Process,
    redirect::netns_cookie,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    sync::mpsc,
};

/// Messages on their way to one gateway.
const MOST_WAITING: usize = 1000;

/// Ends with all it holds when it is dropped, as a process would.
pub struct ScriptedNode {
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

/// Where node agents of one test listen, one after the other.
pub struct NodeSocket(TempDir);

#[derive(Default)]
struct State {
    pods: BTreeMap<String, CapturedPod>,
    listeners: Vec<Held>,
    given_back: usize,
    process: Option<Process>,
    gateways: Vec<mpsc::Sender<Outgoing>>,
}

type Held = (Listener, Arc<TcpListener>);
type Outgoing = (Message, Option<Arc<TcpListener>>);

impl NodeSocket {
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("node.sock")
    }

    /// `capture` in a gateway's configuration.
    pub fn capture(&self) -> Value {
        json!({"socket": self.path(), "nodeUid": nix::unistd::getuid().as_raw()})
    }
}

impl ScriptedNode {
    /// Takes the place of another one, if there was one.
    pub fn start(socket: &NodeSocket) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let state = Arc::<Mutex<State>>::default();
        let listener = {
            let _entered = runtime.enter();
            bind(&socket.path())?
        };
        runtime.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            state,
            _runtime: runtime,
        })
    }

    /// The cookie of the network namespace in which listeners are made.
    pub fn netns_cookie() -> Result<u64> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        Ok(netns_cookie(&socket)?)
    }

    /// Tells of a pod, or of news about it.
    pub fn pod(&self, pod: CapturedPod) {
        let mut state = self.state();
        let uid = pod.workload.pod_uid.clone();
        state.pods.insert(uid, pod.clone());
        state.tell(&Message::Pod(pod), None);
    }

    /// Makes a listener of the pod; its own address is the destination, as far as clients know.
    pub fn listen(&self, pod_uid: &str, names: &[&str]) -> Result<SocketAddr> {
        let socket = Arc::new(TcpListener::bind("127.0.0.1:0")?);
        let destination = socket.local_addr()?;
        self.hand_over(pod_uid, destination, names, socket);
        Ok(destination)
    }

    /// The same listener, whose destination has these names now.
    pub fn rename(&self, destination: SocketAddr, names: &[&str]) -> Result<()> {
        let held = {
            let state = self.state();
            let mut listeners = state.listeners.iter();
            let found = listeners.find(|(listener, _)| listener.destination == destination);
            found.cloned().context("no such listener")?
        };
        self.hand_over(&held.0.pod_uid, destination, names, held.1);
        Ok(())
    }

    /// Ends a pod.
    pub fn gone(&self, pod_uid: &str) {
        let mut state = self.state();
        state.pods.remove(pod_uid);
        state
            .listeners
            .retain(|(listener, _)| listener.pod_uid != pod_uid);
        let gone = Message::Gone {
            pod_uid: pod_uid.to_owned(),
        };
        state.tell(&gone, None);
    }

    /// Which process makes every connection from now on.
    pub fn connections_are_of(&self, process: Process) {
        self.state().process = Some(process);
    }

    /// How many listeners gateways have given back.
    pub fn given_back(&self) -> usize {
        self.state().given_back
    }

    fn hand_over(
        &self,
        pod_uid: &str,
        destination: SocketAddr,
        names: &[&str],
        socket: Arc<TcpListener>,
    ) {
        let listener = Listener {
            pod_uid: pod_uid.to_owned(),
            destination,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut state = self.state();
        let message = Message::Listener(listener.clone());
        state.tell(&message, Some(&socket));
        state
            .listeners
            .retain(|(held, _)| held.destination != destination);
        state.listeners.push((listener, socket));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn tell(&mut self, message: &Message, socket: Option<&Arc<TcpListener>>) {
        let outgoing = || (message.clone(), socket.cloned());
        self.gateways
            .retain(|gateway| gateway.try_send(outgoing()).is_ok());
    }

    fn everything(&self) -> Vec<Outgoing> {
        let pods = self.pods.values();
        let pods = pods.map(|pod| (Message::Pod(pod.clone()), None));
        let listeners = self.listeners.iter().map(|(listener, socket)| {
            (
                Message::Listener(listener.clone()),
                Some(Arc::clone(socket)),
            )
        });
        let synced = [(Message::Synced, None)];
        pods.chain(listeners).chain(synced).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Under its name at once, so that no gateway finds nobody there.
fn bind(path: &Path) -> Result<UnixListener> {
    let draft = path.with_extension("new");
    let listener = UnixListener::bind(&draft)?;
    fs::rename(&draft, path)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &state).await {
                eprintln!("a gateway's connection to the node agent ended: {error:#}");
            }
        });
    }
}

async fn serve(stream: UnixStream, state: &Mutex<State>) -> Result<()> {
    let (mut sender, mut receiver) = channel(stream);
    adopt(&mut receiver, state).await?;
    let (gateway, outgoing) = mpsc::channel(MOST_WAITING);
    let everything = {
        let mut state = lock(state);
        state.gateways.push(gateway.clone());
        state.everything()
    };
    let hello = Message::Hello {
        protocol: PROTOCOL,
        role: Role::Node,
    };
    sender.send(&hello, None).await?;
    tokio::try_join!(
        say(sender, everything, outgoing),
        answer(receiver, gateway, state)
    )?;
    Ok(())
}

/// What the gateway still holds.
async fn adopt(receiver: &mut Receiver, state: &Mutex<State>) -> Result<()> {
    let first = receiver.receive().await?.context("a Hello")?.0;
    ensure!(matches!(
        first,
        Message::Hello {
            role: Role::Gateway,
            ..
        }
    ));
    loop {
        match receiver.receive().await?.context("it closed")? {
            (Message::Pod(pod), _) => {
                let mut state = lock(state);
                let uid = pod.workload.pod_uid.clone();
                state.pods.entry(uid).or_insert(pod);
            }
            (Message::Listener(listener), Some(descriptor)) => {
                let mut state = lock(state);
                state.given_back += 1;
                let mut held = state.listeners.iter();
                if !held.any(|(held, _)| held.destination == listener.destination) {
                    let socket = Arc::new(TcpListener::from(descriptor));
                    state.listeners.push((listener, socket));
                }
            }
            (Message::Synced, _) => return Ok(()),
            (other, _) => anyhow::bail!("not expected: {other:?}"),
        }
    }
}

async fn say(
    mut sender: Sender,
    everything: Vec<Outgoing>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> Result<()> {
    for (message, socket) in everything {
        let descriptor = socket.as_ref().map(|socket| socket.as_fd());
        sender.send(&message, descriptor).await?;
    }
    while let Some((message, socket)) = outgoing.recv().await {
        let descriptor = socket.as_ref().map(|socket| socket.as_fd());
        sender.send(&message, descriptor).await?;
    }
    Ok(())
}

async fn answer(
    mut receiver: Receiver,
    gateway: mpsc::Sender<Outgoing>,
    state: &Mutex<State>,
) -> Result<()> {
    while let Some((message, _)) = receiver.receive().await? {
        if let Message::Asking { id, .. } = message {
            let process = lock(state).process.clone();
            // A gateway that has gone asks again when it is back.
            let _gone = gateway.try_send((Message::Process { id, process }, None));
        }
    }
    anyhow::bail!("it closed")
}
