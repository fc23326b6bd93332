//! The thread that writes: serves what queued, in order, until the log is closed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, Builder, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Appended, Cut, Payload,
    error::{NotRecorded, OpenError},
    queue::{Queue, Reply, Request, Waiting},
    writer::Writer,
};

/// Records that come together without being a crowd.
const FEW: usize = 4;
const PAUSE_EACH: Duration = Duration::from_micros(40);
const LONGEST_PAUSE: Duration = Duration::from_micros(800);
/// How often to look whether more have come.
const LOOK: Duration = Duration::from_micros(100);

/// Owns the thread, which ends at the latest with its last owner.
pub(super) struct Owner {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    pub(super) fn start(queue: Arc<Queue>, writer: Writer) -> Result<Self, OpenError> {
        queue.publish(&writer, false);
        let shared = Arc::clone(&queue);
        let thread = Builder::new()
            .name("wal".into())
            .spawn(move || run(&shared, writer))
            .map_err(|source| OpenError::Io {
                path: "the writer thread".into(),
                source,
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Of several callers, the first waits for the end.
    pub(super) async fn join(&self) {
        self.queue.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // If the thread panicked, all who waited have been refused and its message is printed.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct RefuseOnExit<'a>(&'a Queue);

impl Drop for RefuseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.clear();
    }
}

fn run(queue: &Queue, mut writer: Writer) {
    let _refuse = RefuseOnExit(queue);
    let mut failing = false;
    while let Some((requests, release)) = queue.take() {
        // First, since it makes room. What fails here is tried again with the next request.
        failing |= writer.release(release, now_micros()).is_err();
        queue.publish(&writer, failing);
        let crowd = requests.len();
        for group in groups(requests) {
            let answers = group.serve(&mut writer);
            failing = answers.failing().unwrap_or(failing);
            queue.publish(&writer, failing);
            answers.send();
        }
        writer.prepare();
        gather(queue, pause(crowd));
    }
    writer.close();
}

/// Lets records gather for so long, or until no more come.
fn gather(queue: &Queue, longest: Duration) {
    let (mut left, mut waiting) = (longest, None);
    while !left.is_zero() && waiting != Some(queue.length()) {
        waiting = Some(queue.length());
        let step = left.min(LOOK);
        thread::sleep(step);
        left -= step;
    }
}

/// How long to let records gather after so many came at once: those who were answered come back with their next.
/// Small commits cost a write, a flush of the disk and a wake-up for a few records each. A few never
/// make the thread pause; one that comes alone in a pause waits for its end.
fn pause(crowd: usize) -> Duration {
    let others = u32::try_from(crowd.saturating_sub(FEW)).unwrap_or(u32::MAX);
    LONGEST_PAUSE.min(PAUSE_EACH.saturating_mul(others))
}

/// Appends that are committed together, or one cut.
enum Group {
    Appends {
        payloads: Vec<Payload>,
        waiting: Vec<Waiting>,
    },
    Cut(Reply<Option<Cut>>, OwnedSemaphorePermit),
}

fn groups(requests: VecDeque<Request>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for request in requests {
        match (request, groups.last_mut()) {
            (
                Request::Append { payload, waiting },
                Some(Group::Appends {
                    payloads,
                    waiting: all,
                }),
            ) => {
                payloads.push(payload);
                all.push(waiting);
            }
            (Request::Append { payload, waiting }, _) => {
                groups.push(Group::Appends {
                    payloads: vec![payload],
                    waiting: vec![waiting],
                });
            }
            (Request::Cut { reply, room }, _) => groups.push(Group::Cut(reply, room)),
        }
    }
    groups
}

enum Answers {
    Appends(Vec<(Waiting, Result<Appended, NotRecorded>)>),
    Cut(Reply<Option<Cut>>, Result<Option<Cut>, NotRecorded>),
}

impl Group {
    fn serve(self, writer: &mut Writer) -> Answers {
        match self {
            Self::Appends { payloads, waiting } => {
                let outcomes = writer.append(&payloads, now_micros());
                Answers::Appends(waiting.into_iter().zip(outcomes).collect())
            }
            Self::Cut(reply, _room) => Answers::Cut(reply, writer.cut(now_micros())),
        }
    }
}

impl Answers {
    /// Whether the disk took the last of them; `None` if it was not asked.
    fn failing(&self) -> Option<bool> {
        match self {
            Self::Appends(answers) => answers
                .iter()
                .rev()
                .find_map(|(_, outcome)| failed(outcome)),
            Self::Cut(_, Ok(None)) => None,
            Self::Cut(_, outcome) => failed(outcome),
        }
    }

    /// Who no longer waits has lost interest, not the record.
    fn send(self) {
        match self {
            Self::Appends(answers) => {
                for (waiting, outcome) in answers {
                    if let Some(then) = waiting.then {
                        then(&outcome);
                    }
                    drop(waiting.reply.send(outcome));
                }
            }
            Self::Cut(reply, outcome) => drop(reply.send(outcome)),
        }
    }
}

fn failed<T>(outcome: &Result<T, NotRecorded>) -> Option<bool> {
    match outcome {
        Ok(_) => Some(false),
        Err(NotRecorded::SyncFailed(_) | NotRecorded::Io(_)) => Some(true),
        Err(NotRecorded::Full { .. } | NotRecorded::TooLarge { .. } | NotRecorded::Closed) => None,
    }
}

pub(super) fn now_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
