//! The body of an answer, and the place on a connection that it keeps until its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tower::BoxError;

use super::{
    gather::Gathered,
    idle::{Idle, Sender},
    lane::Slot,
};

/// Dropped before its end, it resets its stream, or closes its HTTP/1.1 connection.
pub(in crate::proxy) struct UpstreamBody(Source);

enum Source {
    Http2 {
        frames: Frames,
        /// Of the announced length, for HTTP/1.1 clients.
        left: Option<u64>,
        _slot: Slot,
    },
    Http1 {
        incoming: Incoming,
        /// The connection, and where it goes; nowhere is closed.
        lease: Option<(Sender, Option<Idle>)>,
    },
    /// An answer that was read whole before it goes on.
    Whole(Option<Bytes>),
}

enum Frames {
    Direct(RecvStream),
    Gathered(Gathered),
}

impl UpstreamBody {
    /// Of a long-running call the frames are gathered: nobody knows how small they are.
    pub(super) fn http2(
        stream: RecvStream,
        headers: &HeaderMap,
        slot: Slot,
        long_running: bool,
    ) -> Self {
        let ended = stream.is_end_stream();
        Self(Source::Http2 {
            // The answer to a HEAD announces what it does not bring.
            left: content_length(headers).filter(|_| !ended),
            frames: if long_running && !ended {
                Frames::Gathered(Gathered::new(stream))
            } else {
                Frames::Direct(stream)
            },
            _slot: slot,
        })
    }

    /// The connection returns to `idle` when the body has ended, or closes where there is none.
    pub(super) fn http1(incoming: Incoming, sender: Sender, idle: Option<Idle>) -> Self {
        let mut body = Self(Source::Http1 {
            incoming,
            lease: Some((sender, idle)),
        });
        body.settle();
        body
    }

    pub(in crate::proxy) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    fn settle(&mut self) {
        if let Source::Http1 { incoming, lease } = &mut self.0
            && incoming.is_end_stream()
            && let Some((sender, Some(idle))) = lease.take()
        {
            idle.put(sender);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.0 {
            Source::Http2 { frames, left, .. } => ready!(frames.poll_frame(left, cx)),
            Source::Http1 { incoming, .. } => {
                ready!(Pin::new(incoming).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from))
            }
            Source::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
        };
        self.settle();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Http2 { frames, .. } => frames.have_ended(),
            Source::Http1 { incoming, .. } => incoming.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Http2 { left, .. } => left.map_or_else(SizeHint::new, SizeHint::with_exact),
            Source::Http1 { incoming, .. } => incoming.size_hint(),
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl Frames {
    fn poll_frame(
        &mut self,
        left: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let taken = loop {
            let taken = match self {
                Self::Direct(stream) => ready!(poll_data(stream, cx)),
                Self::Gathered(gathered) => ready!(gathered.poll_data(cx)),
            };
            // Go ends most answers over 4 KiB with an empty frame. Given on, it would let the last byte go before
            // the end is known, and with it the outcome recorded.
            if !matches!(&taken, Some(Ok(data)) if data.is_empty()) {
                break taken;
            }
        };
        if let (Some(Ok(data)), Some(left)) = (&taken, left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(taken.map(|data| data.map(Frame::data).map_err(BoxError::from)))
    }

    fn have_ended(&self) -> bool {
        match self {
            Self::Direct(stream) => stream.is_end_stream(),
            Self::Gathered(_) => false,
        }
    }
}

/// The window opens again as bytes are taken, so a reader that stops costs one window.
fn poll_data(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, h2::Error>>> {
    let taken = ready!(stream.poll_data(cx));
    if let Some(Ok(data)) = &taken {
        // The stream may have ended meanwhile, and has no window then.
        drop(stream.flow_control().release_capacity(data.len()));
    }
    Poll::Ready(taken)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
