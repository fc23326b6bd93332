//! The body on its way to the agent, followed to its end.
//!
//! Bytes pass as they come; the record's masker reads along. The outcome is durable before the last
//! byte. An answer of a known length up to 32 KiB is read whole, and its outcome recorded, before its head
//! goes. Of a longer one, one frame is held back until the next has come. A stream without an end (a watch, a followed
//! log) holds nothing back, since its events must not wait for each other; there only its end waits.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, header};
use hyper::body::{Body, Frame, SizeHint};

use super::{
    decoys,
    growing::Growing,
    recorder::wants_answer,
    recording::Recording,
    rejection::Rejection,
    revocation::{Ending, Ends},
    upstream::UpstreamBody,
    view::{self, Unshowable},
};
use crate::{
    audit::{record::Outcome, wal::NotRecorded},
    mask::{BodyMasker, View},
    request_info::RequestInfo,
};

/// Answers up to this are read whole before their heads go.
const SHORT: u64 = 32 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Finishing = Pin<Box<dyn Future<Output = Result<(), NotRecorded>> + Send>>;

pub(super) struct FollowedBody {
    upstream: UpstreamBody,
    upstream_ended: bool,
    /// Values that the agent does not see, once all of the answer is known.
    masked: Option<u32>,
    /// Whether a frame goes at once instead of when the next has come.
    endless: bool,
    held: Option<Frame<Bytes>>,
    state: State,
    /// What was read before the head went.
    gathered: Option<Gathered>,
    /// A long-running stream ends at a drain, or when the call may no longer be; what has a length is waited for.
    ends: Option<Ends>,
}

/// A short answer as it came, whole or broken off.
struct Gathered {
    frames: VecDeque<Bytes>,
    broken: Option<BoxError>,
    /// Of the announced length.
    left: u64,
}

enum State {
    Streaming(Box<Following>),
    /// The outcome is being recorded; then the held frame goes.
    Finishing(Finishing),
    Ended,
}

struct Following {
    recording: Recording,
    masker: BodyMasker,
    /// What a container prints takes room as it comes.
    growing: Option<Growing>,
    /// What the agent sees instead of the bytes as they come.
    view: Option<View>,
    /// One object of a view, and what its reader has not taken of it, takes room as it comes.
    showing: Option<Growing>,
    read_lag: bool,
}

/// Ties the answer to its record. Where there is no body to hold back, the head waits for the outcome. A stream
/// without an end lasts until `ends` at the latest.
pub(super) async fn follow(
    mut recording: Recording,
    response: Response<UpstreamBody>,
    info: &RequestInfo,
    read_lag: bool,
    ends: impl FnOnce(&Recording) -> Ends,
) -> Result<Response<FollowedBody>, Rejection> {
    let (mut head, mut upstream) = response.into_parts();
    recording.answering(head.status);
    if let Err(error) = recording.intended().await {
        let rejection = Rejection::AnswerNotRecorded(error);
        recording.unrecorded(&rejection);
        return Err(rejection);
    }
    let wanted = wants_answer(info, recording.level());
    let mut view = None;
    if let Some(wanted) = recording.take_view() {
        match wanted.open(&recording.recorder().key, &mut head, upstream) {
            Ok(opened) => (view, upstream) = opened,
            Err(unshowable) => return super::refuse(recording, unshowable.into()).await,
        }
    }
    let is_masked = view.is_some();
    let endless = info.is_long_running() && upstream.size_hint().exact().is_none();
    let ends = endless.then(|| ends(&recording));
    let following = Following {
        masker: recording.recorder().masker(&head.headers, info, wanted),
        growing: recording.growing().filter(|_| info.is_pod_log()),
        showing: recording.growing().filter(|_| is_masked),
        view,
        recording,
        read_lag,
    };
    let mut body = FollowedBody {
        endless,
        upstream_ended: false,
        masked: None,
        held: None,
        gathered: None,
        ends,
        state: State::Ended,
        upstream,
    };
    if body.upstream.is_end_stream() {
        following
            .finish(None)
            .await
            .map_err(Rejection::AnswerNotRecorded)?;
    } else {
        body.state = State::Streaming(Box::new(following));
        let length = body.upstream.size_hint().exact();
        if let Some(length) = length.filter(|length| *length <= SHORT) {
            body.gathered = Some(gather(&mut body, length, is_masked).await?);
        }
    }
    if is_masked && let Some(warning) = view::warning(body.masked, info) {
        head.headers.append(header::WARNING, warning);
    }
    Ok(Response::from_parts(head, body))
}

/// Reads a short answer and records its outcome before its head goes: both are one write then, and an answer that
/// cannot be recorded is a refusal instead of a broken stream.
async fn gather(
    body: &mut FollowedBody,
    length: u64,
    is_masked: bool,
) -> Result<Gathered, Rejection> {
    let mut gathered = Gathered {
        frames: VecDeque::new(),
        broken: None,
        left: length,
    };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame {
            Ok(frame) => gathered.frames.extend(frame.into_data()),
            Err(error) => {
                gathered.broken = Some(refused(error)?);
                break;
            }
        }
    }
    if is_masked {
        gathered.left = gathered.frames.iter().map(|frame| frame.len() as u64).sum();
    }
    Ok(gathered)
}

/// What is a refusal as long as the head has not gone; else the answer breaks off where it broke off.
fn refused(error: BoxError) -> Result<BoxError, Rejection> {
    let error = match error.downcast::<NotRecorded>() {
        Ok(error) => return Err(Rejection::AnswerNotRecorded(*error)),
        Err(error) => error,
    };
    match error.downcast::<Unshowable>() {
        Ok(error) => Err(Rejection::AnswerNotMasked(*error)),
        Err(error) => Ok(error),
    }
}

impl Gathered {
    fn next(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        match self.frames.pop_front() {
            Some(bytes) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Some(Ok(Frame::data(bytes)))
            }
            None => self.broken.take().map(Err),
        }
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.broken.is_none()
    }
}

impl Following {
    fn read(&mut self, data: &[u8]) {
        self.masker.update(data);
        let size = self.masker.size();
        if self.growing.as_mut().is_some_and(|room| !room.holds(size)) {
            self.masker.cut();
        }
    }

    /// The answer is over, by itself or because the gateway ends it.
    async fn finish(self, ending: Option<Ending>) -> Result<(), NotRecorded> {
        let read_lag = self.read_lag;
        let mut recording = self.close();
        let outcome = match ending {
            None | Some(Ending::Drain) => Outcome::Complete,
            Some(broken) => {
                recording.broken_off(&broken.to_string());
                Outcome::Aborted
            }
        };
        if read_lag {
            recording.finish_later(outcome);
            return Ok(());
        }
        recording.finish(outcome).await
    }

    fn has_room(&mut self, held: usize) -> Result<(), Unshowable> {
        let has_room = |showing: &mut Growing| showing.holds(held);
        match self.showing.as_mut().is_none_or(has_room) {
            true => Ok(()),
            false => Err(Unshowable::NoRoom),
        }
    }

    /// Nothing more may go on.
    fn withhold(&mut self, unshowable: Unshowable) -> Unshowable {
        self.recording.broken_off(&unshowable.to_string());
        unshowable
    }

    /// The stream broke off: dropping the recording writes it down as aborted.
    fn abort(self) {
        drop(self.close());
    }

    /// With all that was seen of the answer.
    fn close(self) -> Recording {
        let mut recording = self.recording;
        for grown in [self.growing, self.showing].into_iter().flatten() {
            recording.keep(grown.into_room());
        }
        // Of a stream that was ended there is still a view.
        recording.showed_of(self.view);
        recording.answered(self.masker.finish());
        recording
    }
}

impl FollowedBody {
    /// Behind the head of an upgrade there is no body.
    pub(super) fn empty() -> Self {
        Self {
            upstream: UpstreamBody::whole(Bytes::new()),
            upstream_ended: true,
            masked: None,
            endless: false,
            held: None,
            state: State::Ended,
            gathered: None,
            ends: None,
        }
    }

    /// The next frame of the stream; the last one moves the state on.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(ends) = &mut self.ends
            && let Poll::Ready(ending) = ends.poll(cx)
        {
            self.end(Some(ending));
            return self.poll_end(cx);
        }
        loop {
            let shown = match ready!(self.poll_upstream(cx)) {
                Some(Ok(frame)) => self.shown(frame),
                Some(Err(error)) => Err(error),
                None => self.shown_at_end(),
            };
            match shown {
                Ok(Some(frame)) => {
                    if let Some(next) = self.pass(frame) {
                        return Poll::Ready(Some(Ok(next)));
                    }
                }
                Ok(None) if self.upstream_ended => {
                    self.end(None);
                    return self.poll_end(cx);
                }
                Ok(None) => {}
                Err(error) => {
                    self.abort();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.upstream_ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.upstream).poll_frame(cx));
        self.upstream_ended = frame.is_none();
        Poll::Ready(frame)
    }

    /// What the agent gets of a frame. Not trailers: Kubernetes sends none, and hop-by-hop rules would have to be
    /// applied to them.
    fn shown(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BoxError> {
        let Some(data) = frame.data_ref() else {
            return Ok(None);
        };
        let State::Streaming(following) = &mut self.state else {
            return Ok(Some(frame));
        };
        following.read(data);
        following
            .recording
            .caught(following.masker.take_decoys(), decoys::READ);
        match &mut following.view {
            None => Ok(Some(frame)),
            Some(view) => {
                let shown = view.update(data);
                let held = view.capacity() + shown.as_ref().map_or(0, Vec::len);
                let shown = shown.map_err(Unshowable::from);
                let shown = shown.and_then(|shown| following.has_room(held).map(|()| shown));
                Ok(data_frame(
                    shown.map_err(|error| following.withhold(error))?,
                ))
            }
        }
    }

    /// What had to wait for the end of the answer.
    fn shown_at_end(&mut self) -> Result<Option<Frame<Bytes>>, BoxError> {
        let State::Streaming(following) = &mut self.state else {
            return Ok(None);
        };
        let Some(view) = following.view.take() else {
            return Ok(None);
        };
        let shown = view.finish().map_err(Unshowable::from);
        let shown = shown.map_err(|error| following.withhold(error))?;
        following.recording.showed(shown.issued);
        self.masked = Some(shown.masked);
        Ok(data_frame(shown.rest))
    }

    /// The frame that goes now: this one, or the one that was held back for it.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if self.endless {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.ends.iter_mut().for_each(|ends| ends.passed(bytes));
            return Some(frame);
        }
        self.held.replace(frame)
    }

    /// It does not have the length that was announced.
    fn is_masked(&self) -> bool {
        match &self.state {
            State::Streaming(following) => following.view.is_some(),
            _ => false,
        }
    }

    fn end(&mut self, ending: Option<Ending>) {
        if let State::Streaming(following) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Finishing(Box::pin(following.finish(ending)));
        }
    }

    fn abort(&mut self) {
        if let State::Streaming(following) = std::mem::replace(&mut self.state, State::Ended) {
            following.abort();
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let State::Finishing(finishing) = &mut self.state else {
            return Poll::Ready(None);
        };
        let recorded = ready!(finishing.as_mut().poll(cx));
        self.state = State::Ended;
        match recorded {
            Ok(()) => Poll::Ready(self.held.take().map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}

fn data_frame(bytes: Vec<u8>) -> Option<Frame<Bytes>> {
    (!bytes.is_empty()).then(|| Frame::data(bytes.into()))
}

impl Body for FollowedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(gathered) = &mut self.gathered {
            return Poll::Ready(gathered.next());
        }
        match &self.state {
            State::Streaming(_) => self.poll_stream(cx),
            State::Finishing(_) => self.poll_end(cx),
            State::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.gathered {
            Some(gathered) => gathered.is_empty(),
            None => matches!(self.state, State::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.gathered {
            Some(gathered) => SizeHint::with_exact(gathered.left),
            None if self.is_masked() => SizeHint::default(),
            None => self.upstream.size_hint(),
        }
    }
}

impl Drop for FollowedBody {
    fn drop(&mut self) {
        // In a panic the masker may be half-way; the recording alone writes itself down.
        if !std::thread::panicking() {
            self.abort();
        }
    }
}
