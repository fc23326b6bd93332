//! Who talks to this node agent over its socket: gateways, an old one and a new one at a time, and the node agent
//! that takes over from this one.
//!
//! Here is only the talking. What is held, and what another lacks of it, is the agent's to know.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::handover::{ChannelError, Message, PROTOCOL, Receiver, Role, Sender, channel};
use crate::telemetry::causes;

/// Two gateways and two node agents during an upgrade, and as many again that have not noticed their end.
const MOST_PEERS: usize = 8;
/// From the agent to one peer. A slow one is told the rest once it has read these.
pub(super) const QUEUE: usize = 64;
/// For one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a node agent that is superseded looks whether the other one is there.
const LOOK: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PeerId(u64);

pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) socket: Option<Arc<OwnedFd>>,
}

/// A message with the descriptor that came along.
pub(super) type Said = (Message, Option<OwnedFd>);

pub(super) enum PeerEvent {
    Arrived(PeerId, Role, mpsc::Sender<Outgoing>),
    Said(PeerId, Message, Option<OwnedFd>),
    Left(PeerId),
}

impl PeerEvent {
    /// An answer is all that it asks for.
    pub(super) fn is_question(&self) -> bool {
        matches!(self, Self::Said(_, Message::Asking { .. }, _))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot listen on {}: is its directory there, and of the host?", path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Listens beside `path` and then takes its place, so that there is a moment at which both are there and none at
/// which neither is.
pub(super) fn listen(path: &Path, owner: u32) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::Listen {
        path: path.to_owned(),
        source,
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    // The group is ours: root in the container has no CAP_DAC_OVERRIDE, and the next node agent has to connect.
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    chown(&beside, Some(owner), None).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

/// What peers say, in `events`; `drained` is woken when one has read all it was told. Ends with `shutdown`, and every
/// connection with it.
pub(super) async fn serve(
    listener: UnixListener,
    gateway_uid: u32,
    events: mpsc::Sender<PeerEvent>,
    drained: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MOST_PEERS));
    for id in (0..).map(PeerId) {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the node agent could not be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (events, drained) = (events.clone(), Arc::clone(&drained));
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let talking = talk(id, stream, gateway_uid, &events, drained);
            let outcome = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                outcome = talking => outcome,
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    error = causes(&error),
                    "a connection to the node agent has ended"
                );
            }
            // Whoever reads this has gone where the send fails.
            let _ = events.send(PeerEvent::Left(id)).await;
            drop(place);
        });
    }
}

#[derive(Debug, thiserror::Error)]
enum TalkError {
    #[error("uid {uid} connected: only the gateway's uid may, and root")]
    Stranger { uid: u32 },
    #[error("the other side did not begin with its version within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("the other side speaks version {theirs} and this one {PROTOCOL}: upgrade both")]
    OtherVersion { theirs: u32 },
    #[error("the other side's uid cannot be told")]
    Unknown(#[source] io::Error),
    #[error("the connection broke")]
    Channel(#[from] ChannelError),
}

async fn talk(
    id: PeerId,
    stream: UnixStream,
    gateway_uid: u32,
    events: &mpsc::Sender<PeerEvent>,
    drained: Arc<Notify>,
) -> Result<(), TalkError> {
    let uid = peer_uid(&stream)?;
    if uid != 0 && uid != gateway_uid {
        return Err(TalkError::Stranger { uid });
    }
    let (mut sender, mut receiver) = channel(stream);
    // Closed at once by who only looks whether somebody is here.
    let Some(role) = hello(&mut receiver).await? else {
        return Ok(());
    };
    if role == Role::Node && uid != 0 {
        return Err(TalkError::Stranger { uid });
    }
    sender.send(&our_hello(), None).await?;
    let (outgoing, queue) = mpsc::channel(QUEUE);
    if events
        .send(PeerEvent::Arrived(id, role, outgoing))
        .await
        .is_err()
    {
        return Ok(());
    }
    tokio::select! {
        written = write(sender, queue, &drained) => written,
        read = read(id, receiver, events) => read,
    }
}

fn peer_uid(stream: &UnixStream) -> Result<u32, TalkError> {
    let credentials = socket_peercred(stream).map_err(|error| TalkError::Unknown(error.into()))?;
    Ok(credentials.uid.as_raw())
}

fn our_hello() -> Message {
    Message::Hello {
        protocol: PROTOCOL,
        role: Role::Node,
    }
}

/// None where the other side says nothing and closes.
async fn hello(receiver: &mut Receiver) -> Result<Option<Role>, TalkError> {
    let first = timeout(PATIENCE, receiver.receive())
        .await
        .map_err(|_| TalkError::Silent)??;
    match first {
        Some((Message::Hello { protocol, role }, None)) if protocol == PROTOCOL => Ok(Some(role)),
        Some((Message::Hello { protocol, .. }, _)) => {
            Err(TalkError::OtherVersion { theirs: protocol })
        }
        None => Ok(None),
        Some(_) => Err(TalkError::Silent),
    }
}

/// Until the agent has nothing more to say to this peer ever.
async fn write(
    mut sender: Sender,
    mut queue: mpsc::Receiver<Outgoing>,
    drained: &Notify,
) -> Result<(), TalkError> {
    use std::os::fd::AsFd as _;
    while let Some(Outgoing { message, socket }) = queue.recv().await {
        let socket = socket.as_ref().map(|socket| socket.as_fd());
        timeout(PATIENCE, sender.send(&message, socket))
            .await
            .map_err(|_| TalkError::Silent)??;
        if queue.is_empty() {
            drained.notify_one();
        }
    }
    Ok(())
}

async fn read(
    id: PeerId,
    mut receiver: Receiver,
    events: &mpsc::Sender<PeerEvent>,
) -> Result<(), TalkError> {
    while let Some((message, socket)) = receiver.receive().await? {
        if events
            .send(PeerEvent::Said(id, message, socket))
            .await
            .is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Everything that the node agent before this one holds; none where no such agent is. It has stopped acting once it has
/// said all.
pub(super) async fn take_over(path: &Path) -> Option<Vec<Said>> {
    let stream = UnixStream::connect(path).await.ok()?;
    match timeout(PATIENCE, inherit(stream)).await {
        Ok(Ok(inherited)) => Some(inherited),
        // It hangs or is broken. It lets go as soon as it sees that the socket is not its own any more.
        Ok(Err(error)) => {
            tracing::warn!(
                error = causes(&error),
                "the node agent before this one handed nothing over"
            );
            None
        }
        Err(_) => {
            tracing::warn!("the node agent before this one does not answer");
            None
        }
    }
}

async fn inherit(stream: UnixStream) -> Result<Vec<Said>, TalkError> {
    let uid = peer_uid(&stream)?;
    if uid != 0 {
        return Err(TalkError::Stranger { uid });
    }
    let (mut sender, mut receiver) = channel(stream);
    sender.send(&our_hello(), None).await?;
    sender.send(&Message::Synced, None).await?;
    hello(&mut receiver).await?.ok_or(ChannelError::Cut)?;
    let mut inherited = Vec::new();
    loop {
        match receiver.receive().await? {
            Some((Message::Synced, _)) => return Ok(inherited),
            Some(said) => inherited.push(said),
            None => return Err(TalkError::Channel(ChannelError::Cut)),
        }
    }
}

/// Ends once nobody has listened at `path` for a while: then the node agent that took over has died.
pub(super) async fn abandoned(path: &Path) {
    let mut heard = Instant::now();
    while heard.elapsed() < PATIENCE {
        sleep(LOOK).await;
        if UnixStream::connect(path).await.is_ok() {
            heard = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests;
