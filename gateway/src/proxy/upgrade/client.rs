//! The client's end of an upgraded connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::farewell::Messages;
use crate::proxy::budget::Room;

/// What the client said while it waited is read first.
#[derive(Debug)]
pub(super) struct Client {
    io: TokioIo<Upgraded>,
    kept: Bytes,
    /// Of what is kept.
    room: Option<Room>,
    /// What it is told, where it can be told more.
    messages: Option<Messages>,
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
            messages: None,
        }
    }

    /// Its protocol has a place for a last word.
    pub(super) fn told(self, messages: Option<Messages>) -> Self {
        Self { messages, ..self }
    }

    /// Whether there is such a place now.
    pub(super) fn can_be_told(&self) -> bool {
        self.messages.as_ref().is_some_and(Messages::are_whole)
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
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        if let Some(messages) = &mut self.messages {
            messages.passed(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
