//! The gateway's end of the handover: listeners come from the node agent, and go back to one that has lost them.
//!
//! The node agent comes and goes; what it has handed over stays open and is served meanwhile.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    handover::{ChannelError, Message, PROTOCOL, Receiver, Role, Sender, channel},
    identity::Process,
    proxy::{Captured, Question},
    readiness::BlockReady,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Shorter than a node agent that starts waits for what a gateway holds: later it opens what it cannot have.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Answers to questions beyond this that nobody waits for any more are forgotten.
const MOST_UNANSWERED: usize = 1024;

/// Why a connection to the node agent ended, or never was one.
#[derive(Debug, thiserror::Error)]
enum HandoverError {
    #[error("cannot connect to the node agent at {}: does `sallyport node` run on this node?", path.display())]
    NoNodeAgent {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("who listens at {} is uid {found}, not capture.nodeUid {expected}", path.display())]
    NotTheNodeAgent {
        path: PathBuf,
        found: u32,
        expected: u32,
    },
    #[error(
        "the node agent speaks version {found} of the handover, this gateway {PROTOCOL}: update the older one"
    )]
    OtherProtocol { found: u32 },
    #[error("the node agent sent something before its Hello, or said it twice")]
    OutOfOrder,
    #[error("the node agent closed the connection")]
    Closed,
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// Follows the node agent for as long as the gateway runs.
pub(super) struct Client {
    config: config::Capture,
    captured: Captured,
    questions: mpsc::Receiver<Question>,
    /// Until the node agent has said once what there is.
    waiting: Option<BlockReady>,
}

impl Client {
    pub(super) fn new(
        config: &config::Capture,
        captured: Captured,
        questions: mpsc::Receiver<Question>,
        waiting: BlockReady,
    ) -> Self {
        Self {
            config: config.clone(),
            captured,
            questions,
            waiting: Some(waiting),
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            let since = Instant::now();
            let ended = match connect(&self.config).await {
                Ok(stream) => self.exchange(stream).await,
                Err(error) => error,
            };
            if since.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
                told.clear();
            }
            tell(&ended, &mut told);
            self.drop_questions_until(Instant::now() + pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Says and hears everything, until it ends.
    async fn exchange(&mut self, stream: UnixStream) -> HandoverError {
        let (sender, receiver) = channel(stream);
        let unanswered = Unanswered::default();
        let speaking = speak(sender, &self.captured, &mut self.questions, &unanswered);
        let hearing = hear(receiver, &self.captured, &unanswered, &mut self.waiting);
        self.captured.node_agent(true);
        let ended = tokio::select! {
            ended = speaking => ended,
            ended = hearing => ended,
        };
        self.captured.node_agent(false);
        ended.err().unwrap_or(HandoverError::Closed)
    }

    /// Whoever asks while nobody is there need not wait.
    async fn drop_questions_until(&mut self, end: Instant) {
        let mut over = std::pin::pin!(sleep_until(end));
        loop {
            tokio::select! {
                () = &mut over => return,
                question = self.questions.recv() => drop(question),
            }
        }
    }
}

async fn connect(config: &config::Capture) -> Result<UnixStream, HandoverError> {
    let path = || config.socket.clone();
    let unreachable = |source| HandoverError::NoNodeAgent {
        path: path(),
        source,
    };
    let stream = UnixStream::connect(&config.socket)
        .await
        .map_err(unreachable)?;
    let found = stream.peer_cred().map_err(unreachable)?.uid();
    if found != config.node_uid {
        return Err(HandoverError::NotTheNodeAgent {
            path: path(),
            found,
            expected: config.node_uid,
        });
    }
    Ok(stream)
}

/// Each reason once aloud: the node agent may be away for long.
fn tell(ended: &HandoverError, told: &mut String) {
    let error = ended as &dyn std::error::Error;
    let text = ended.to_string();
    if *told == text {
        tracing::debug!(error, "the node agent is still away");
    } else {
        tracing::warn!(error, "listeners stay open while the node agent is away");
        *told = text;
    }
}

/// Gives back what is held, then asks what is asked.
async fn speak(
    mut sender: Sender,
    captured: &Captured,
    questions: &mut mpsc::Receiver<Question>,
    unanswered: &Unanswered,
) -> Result<(), HandoverError> {
    let hello = Message::Hello {
        protocol: PROTOCOL,
        role: Role::Gateway,
    };
    sender.send(&hello, None).await?;
    for (pod, listeners) in captured.held() {
        let pod = Message::Pod(Arc::unwrap_or_clone(pod));
        sender.send(&pod, None).await?;
        for held in listeners {
            let message = Message::Listener(held.listener.clone());
            sender.send(&message, Some(held.as_fd())).await?;
        }
    }
    sender.send(&Message::Synced, None).await?;
    while let Some(question) = questions.recv().await {
        let asking = Message::Asking {
            id: unanswered.keep(question.answer),
            netns_cookie: question.netns_cookie,
            peer: question.peer,
        };
        sender.send(&asking, None).await?;
    }
    Ok(())
}

/// Does what the node agent says.
async fn hear(
    mut receiver: Receiver,
    captured: &Captured,
    unanswered: &Unanswered,
    waiting: &mut Option<BlockReady>,
) -> Result<(), HandoverError> {
    match receiver.receive().await? {
        Some((Message::Hello { protocol, .. }, _)) if protocol == PROTOCOL => {}
        Some((Message::Hello { protocol, .. }, _)) => {
            return Err(HandoverError::OtherProtocol { found: protocol });
        }
        Some(_) => return Err(HandoverError::OutOfOrder),
        None => return Ok(()),
    }
    while let Some((message, descriptor)) = receiver.receive().await? {
        match (message, descriptor) {
            (Message::Pod(pod), _) => captured.pod(pod),
            (Message::Listener(listener), Some(descriptor)) => {
                let (pod, destination) = (listener.pod_uid.clone(), listener.destination);
                if let Err(error) = captured.listen(listener, descriptor) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, pod, %destination, "a captured listener is not served");
                }
            }
            (Message::Gone { pod_uid }, _) => captured.gone(&pod_uid),
            (Message::Process { id, process }, _) => unanswered.answer(id, process),
            (Message::Synced, _) => {
                if waiting.take().is_some() {
                    tracing::info!("the node agent has handed over its listeners");
                }
            }
            (Message::Listener(_) | Message::Hello { .. } | Message::Asking { .. }, _) => {
                return Err(HandoverError::OutOfOrder);
            }
        }
    }
    Ok(())
}

/// Questions that wait for their answer, by number.
#[derive(Default)]
struct Unanswered(Mutex<Questions>);

#[derive(Default)]
struct Questions {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Option<Process>>>,
}

impl Unanswered {
    fn keep(&self, answer: oneshot::Sender<Option<Process>>) -> u64 {
        let mut questions = self.questions();
        if questions.waiting.len() >= MOST_UNANSWERED {
            questions.waiting.retain(|_, answer| !answer.is_closed());
        }
        questions.last += 1;
        let id = questions.last;
        if questions.waiting.len() < MOST_UNANSWERED {
            questions.waiting.insert(id, answer);
        }
        id
    }

    fn answer(&self, id: u64, process: Option<Process>) {
        let answer = self.questions().waiting.remove(&id);
        if let Some(answer) = answer {
            // Who asked may have stopped waiting.
            let _late = answer.send(process);
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_node_agents_user_may_hand_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let us = nix::unistd::getuid().as_raw();
        let capture = |node_uid| config::Capture {
            socket: directory.path().join("node.sock"),
            node_uid,
        };
        let nobody = connect(&capture(us)).await.expect_err("nobody listens");
        assert!(
            matches!(nobody, HandoverError::NoNodeAgent { .. }),
            "{nobody}"
        );
        let _listener = tokio::net::UnixListener::bind(capture(us).socket).expect("a socket");
        connect(&capture(us)).await.expect("it is us");
        let other = connect(&capture(us + 1)).await.expect_err("it is not");
        assert!(matches!(other, HandoverError::NotTheNodeAgent { found, .. } if found == us));
    }

    #[test]
    fn questions_that_nobody_answers_do_not_pile_up() {
        let unanswered = Unanswered::default();
        let waiting: Vec<_> = (0..2 * MOST_UNANSWERED)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                (unanswered.keep(answer), answered)
            })
            .collect();
        let held = || unanswered.questions().waiting.len();
        assert_eq!(held(), MOST_UNANSWERED);
        drop(waiting);
        let (answer, mut answered) = oneshot::channel();
        let id = unanswered.keep(answer);
        assert_eq!(held(), 1);
        unanswered.answer(id, None);
        assert_eq!(answered.try_recv(), Ok(None));
        assert_eq!(held(), 0);
    }
}
