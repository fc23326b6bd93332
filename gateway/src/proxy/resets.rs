//! Streams that `h2` reset by itself, seen in the frames that it writes: it tells nobody else.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEAD: usize = 9;
const RST_STREAM: u8 = 3;

/// What `h2` says of a client's stream, and nobody else says of one.
const FAULTS: [Reason; 6] = [
    Reason::PROTOCOL_ERROR,
    Reason::FLOW_CONTROL_ERROR,
    Reason::STREAM_CLOSED,
    Reason::FRAME_SIZE_ERROR,
    Reason::REFUSED_STREAM,
    Reason::ENHANCE_YOUR_CALM,
];

/// An HTTP/2 connection that reports such streams.
pub(super) struct Watched<T, F> {
    stream: T,
    frames: Frames,
    report: F,
}

impl<T, F: FnMut(Reason)> Watched<T, F> {
    pub(super) fn new(stream: T, report: F) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            report,
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.frames.read(bytes, |reason| {
            if FAULTS.contains(&reason) {
                (self.report)(reason);
            }
        });
    }
}

/// Where in its frames a connection is.
#[derive(Default)]
struct Frames {
    /// The frame's head, and of a reset its reason.
    head: Vec<u8>,
    /// How much of the payload is still to come.
    payload: usize,
}

impl Frames {
    /// Calls `reset` with the reason of each RST_STREAM that is whole with `bytes`.
    fn read(&mut self, mut bytes: &[u8], mut reset: impl FnMut(Reason)) {
        while !bytes.is_empty() {
            let length = if self.payload > 0 {
                self.skip(bytes.len())
            } else {
                self.collect(bytes, &mut reset)
            };
            bytes = &bytes[length..];
        }
    }

    fn skip(&mut self, most: usize) -> usize {
        let length = self.payload.min(most);
        self.payload -= length;
        length
    }

    fn collect(&mut self, bytes: &[u8], reset: &mut impl FnMut(Reason)) -> usize {
        let wanted = if self.is_reset() { HEAD + 4 } else { HEAD };
        let length = (wanted - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..length]);
        match self.head[..] {
            [_, _, _, RST_STREAM, _, _, _, _, _] => {}
            [l0, l1, l2, _, _, _, _, _, _] => {
                self.payload = u32::from_be_bytes([0, l0, l1, l2]) as usize;
                self.head.clear();
            }
            [_, _, _, _, _, _, _, _, _, r0, r1, r2, r3] => {
                reset(u32::from_be_bytes([r0, r1, r2, r3]).into());
                self.head.clear();
            }
            _ => {}
        }
        length
    }

    fn is_reset(&self) -> bool {
        self.head.len() >= HEAD && self.head[3] == RST_STREAM
    }
}

impl<T: AsyncRead + Unpin, F: Unpin> AsyncRead for Watched<T, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin, F: FnMut(Reason) + Unpin> AsyncWrite for Watched<T, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wrote(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut left = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        let length = left;
        for slice in slices {
            let written = left.min(slice.len());
            self.wrote(&slice[..written]);
            left -= written;
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short payload");
        [&length.to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    /// The reasons found where the frames are written in pieces of these lengths.
    fn found(frames: &[u8], pieces: &[usize]) -> Vec<u32> {
        let (mut frames, mut found) = (frames, Vec::new());
        let mut reader = Frames::default();
        let mut pieces = pieces.iter().copied().cycle();
        while !frames.is_empty() {
            let length = pieces.next().unwrap_or(1).min(frames.len());
            reader.read(&frames[..length], |reason| found.push(reason.into()));
            frames = &frames[length..];
        }
        found
    }

    proptest! {
        #[test]
        fn every_reset_is_found_however_it_is_written(
            frames in prop::collection::vec(
                prop_oneof![
                    any::<u32>().prop_map(Ok),
                    (0_u8..10, prop::collection::vec(any::<u8>(), 0..40)).prop_map(Err),
                ],
                0..20,
            ),
            pieces in prop::collection::vec(1_usize..30, 1..10),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for kind in frames {
                match kind {
                    Ok(reason) => {
                        bytes.extend(frame(RST_STREAM, &reason.to_be_bytes()));
                        expected.push(reason);
                    }
                    Err((RST_STREAM, _)) => {}
                    Err((kind, payload)) => bytes.extend(frame(kind, &payload)),
                }
            }
            prop_assert_eq!(found(&bytes, &pieces), expected);
        }
    }
}
