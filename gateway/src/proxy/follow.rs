//! The body on its way to the agent, followed to its end.
//!
//! Bytes pass as they come; the record's masker reads along. The outcome is durable before the last
//! byte: where the length is known the frame that completes it is held back, elsewhere the end of the
//! stream is.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::{recording::Recording, rejection::Rejection, upstream::UpstreamBody};
use crate::{
    audit::{
        record::{Level, Outcome},
        wal::NotRecorded,
    },
    drain::DrainWatcher,
    mask::BodyMasker,
    request_info::RequestInfo,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Finishing = Pin<Box<dyn Future<Output = Result<(), NotRecorded>> + Send>>;

pub(super) struct FollowedBody {
    upstream: UpstreamBody,
    /// Bytes that are still to come, where the length is known.
    remaining: Option<u64>,
    state: State,
    /// A long-running stream ends at a drain; what has a length is waited for.
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

enum State {
    Streaming(Box<Following>),
    /// The outcome is being recorded; then the held frame goes.
    Finishing(Finishing, Option<Frame<Bytes>>),
    Ended,
}

struct Following {
    recording: Recording,
    masker: BodyMasker,
    read_lag: bool,
}

/// Ties the answer to its record. Where there is no body to hold back, the head waits for the outcome.
pub(super) async fn follow(
    mut recording: Recording,
    response: Response<UpstreamBody>,
    info: &RequestInfo,
    read_lag: bool,
    drain: &DrainWatcher,
) -> Result<Response<FollowedBody>, Rejection> {
    let (head, upstream) = response.into_parts();
    recording.answering(head.status);
    recording
        .intended()
        .await
        .map_err(Rejection::AnswerNotRecorded)?;
    let wanted = recording.level() >= Level::RequestResponse
        && info.is_resource_request
        && info.verb != "watch";
    let following = Following {
        masker: recording.recorder().masker(&head.headers, info, wanted),
        recording,
        read_lag,
    };
    let remaining = upstream.size_hint().exact();
    let endless = info.is_long_running() && remaining.is_none();
    let mut body = FollowedBody {
        remaining,
        draining: endless.then(|| Box::pin(drain.draining()) as _),
        state: State::Ended,
        upstream,
    };
    if body.upstream.is_end_stream() {
        following
            .finish(Outcome::Complete)
            .await
            .map_err(Rejection::AnswerNotRecorded)?;
    } else {
        body.state = State::Streaming(Box::new(following));
    }
    Ok(Response::from_parts(head, body))
}

impl Following {
    async fn finish(self, outcome: Outcome) -> Result<(), NotRecorded> {
        let Self {
            mut recording,
            masker,
            read_lag,
        } = self;
        recording.answered(masker.finish());
        if read_lag {
            recording.finish_later(outcome);
            return Ok(());
        }
        recording.finish(outcome).await
    }

    /// The stream broke off: dropping the recording writes it down as aborted.
    fn abort(self) {
        let Self {
            mut recording,
            masker,
            ..
        } = self;
        recording.answered(masker.finish());
    }
}

impl FollowedBody {
    /// The next frame of the stream; the last one moves the state on.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let ended = self
            .draining
            .as_mut()
            .is_some_and(|draining| draining.as_mut().poll(cx).is_ready());
        if ended {
            self.end(None);
            return self.poll_end(cx);
        }
        match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
            Some(Ok(frame)) => self.pass(frame, cx),
            Some(Err(error)) => {
                self.abort();
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                self.end(None);
                self.poll_end(cx)
            }
        }
    }

    fn pass(
        &mut self,
        frame: Frame<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(data) = frame.data_ref() else {
            // Trailers: Kubernetes sends none, and hop-by-hop rules would have to be applied to them.
            return self.poll_stream(cx);
        };
        if let State::Streaming(following) = &mut self.state {
            following.masker.update(data);
        }
        self.remaining = self
            .remaining
            .map(|remaining| remaining.saturating_sub(data.len() as u64));
        if self.remaining == Some(0) {
            self.end(Some(frame));
            return self.poll_end(cx);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn end(&mut self, held: Option<Frame<Bytes>>) {
        if let State::Streaming(following) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Finishing(Box::pin(following.finish(Outcome::Complete)), held);
        }
    }

    fn abort(&mut self) {
        if let State::Streaming(following) = std::mem::replace(&mut self.state, State::Ended) {
            following.abort();
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let State::Finishing(finishing, held) = &mut self.state else {
            return Poll::Ready(None);
        };
        let recorded = ready!(finishing.as_mut().poll(cx));
        let held = held.take();
        self.state = State::Ended;
        match recorded {
            Ok(()) => Poll::Ready(held.map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}

impl Body for FollowedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &self.state {
            State::Streaming(_) => self.poll_stream(cx),
            State::Finishing(..) => self.poll_end(cx),
            State::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}

impl Drop for FollowedBody {
    fn drop(&mut self) {
        self.abort();
    }
}
