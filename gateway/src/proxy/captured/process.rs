//! Which process made a connection: the node agent is asked when it arrives, and nobody waits long for the answer.

use std::{net::SocketAddr, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::identity::Process;

/// The handshake takes part of it. Later than this, the record is without.
const PATIENCE: Duration = Duration::from_millis(50);
/// Beyond this many at once, records are without.
const MOST_WAITING: usize = 256;

/// Which process made the connection that arrived from `peer`, in the network namespace `netns_cookie`?
#[derive(Debug)]
pub struct Question {
    pub netns_cookie: u64,
    pub peer: SocketAddr,
    pub answer: oneshot::Sender<Option<Process>>,
}

#[derive(Clone)]
pub(super) struct Questions(mpsc::Sender<Question>);

impl Questions {
    pub(super) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, asked) = mpsc::channel(MOST_WAITING);
        (Self(sender), asked)
    }

    pub(super) fn ask(
        &self,
        netns_cookie: u64,
        peer: SocketAddr,
    ) -> Shared<BoxFuture<'static, Option<Process>>> {
        let deadline = Instant::now() + PATIENCE;
        let (answer, answered) = oneshot::channel();
        // Where the question cannot be put, the answer's other end is dropped, and that is the answer.
        let _put = self.0.try_send(Question {
            netns_cookie,
            peer,
            answer,
        });
        let process = async move { timeout_at(deadline, answered).await.ok()?.ok()? };
        process.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 40000))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_everybodys() {
        let (questions, mut asked) = Questions::new();
        let process = questions.ask(7, peer());
        let question = asked.recv().await.expect("a question");
        assert_eq!((question.netns_cookie, question.peer), (7, peer()));
        let answer = Process { pid: 1, exe: None };
        question
            .answer
            .send(Some(answer.clone()))
            .expect("it is awaited");
        assert_eq!(process.clone().await, Some(answer.clone()));
        assert_eq!(process.await, Some(answer));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_late_answer_or_for_nobody() {
        let (questions, mut asked) = Questions::new();
        let started = Instant::now();
        let late = questions.ask(7, peer());
        let _unanswered = asked.recv().await.expect("a question");
        assert_eq!(late.await, None);
        assert_eq!(started.elapsed(), PATIENCE);
        drop(asked);
        assert_eq!(questions.ask(7, peer()).await, None);
        assert_eq!(started.elapsed(), PATIENCE);
    }
}
