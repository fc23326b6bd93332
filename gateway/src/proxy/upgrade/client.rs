//! The client's end of an upgraded connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::budget::Room;

/// What the client said while it waited is read first.
#[derive(Debug)]
pub(super) struct Client {
    io: TokioIo<Upgraded>,
    kept: Bytes,
    /// Of what is kept.
    room: Option<Room>,
}

impl Client {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        Self::resumed(TokioIo::new(upgraded), Vec::new(), None)
    }

    pub(super) fn resumed(io: TokioIo<Upgraded>, kept: Vec<u8>, room: Option<Room>) -> Self {
        Self {
            io,
            kept: kept.into(),
            room,
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.kept.is_empty() {
            self.room = None;
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.kept.len().min(buffer.remaining());
        buffer.put_slice(&self.kept[..length]);
        self.kept.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
