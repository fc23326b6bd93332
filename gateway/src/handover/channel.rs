//! Messages over a unix socket: four bytes of length, one that says whether a descriptor comes along, then JSON.
//!
//! A descriptor travels with the first bytes of its message, so descriptors arrive in the order of the
//! messages that announce them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{io::Interest, net::UnixStream};

use super::Message;

/// A pod with all the labels and images that Kubernetes lets it have fits.
const LONGEST: usize = 1 << 20;
const HEAD: usize = 5;
/// A descriptor per message, and a message is longer than this buffer's share of one.
const DESCRIPTORS_AT_ONCE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the handover socket failed")]
    Io(#[from] io::Error),
    #[error("the other side ended in the middle of a message")]
    Cut,
    #[error("a message of {length} bytes is longer than {LONGEST}: is the other side a Sallyport?")]
    TooLong { length: usize },
    #[error("a message is not understood: are node agent and gateway of the same release?")]
    NotUnderstood(#[source] serde_json::Error),
    #[error("a message announced a descriptor that did not come: raise the limit of open files")]
    NoDescriptor,
}

/// Both directions of a connection; each may be used by one task.
pub fn channel(stream: UnixStream) -> (Sender, Receiver) {
    let stream = Arc::new(stream);
    let sender = Sender {
        stream: Arc::clone(&stream),
    };
    let receiver = Receiver {
        stream,
        bytes: Vec::new(),
        descriptors: VecDeque::new(),
    };
    (sender, receiver)
}

pub struct Sender {
    stream: Arc<UnixStream>,
}

impl Sender {
    /// Not safe to cancel: half a message would stay.
    pub async fn send(
        &mut self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        let frame = frame(message, descriptor.is_some())?;
        let mut sent = 0;
        while sent < frame.len() {
            let along = descriptor.filter(|_| sent == 0);
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || {
                    send_some(&self.stream, &frame[sent..], along)
                })
                .await?;
        }
        Ok(())
    }
}

pub struct Receiver {
    stream: Arc<UnixStream>,
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Receiver {
    /// The next message; none once the other side has closed. Safe to cancel: what has arrived is kept.
    pub async fn receive(&mut self) -> Result<Option<(Message, Option<OwnedFd>)>, ChannelError> {
        loop {
            if let Some((message, with_descriptor)) = self.next_message()? {
                let descriptor = match with_descriptor {
                    true => Some(
                        self.descriptors
                            .pop_front()
                            .ok_or(ChannelError::NoDescriptor)?,
                    ),
                    false => None,
                };
                return Ok(Some((message, descriptor)));
            }
            if !self.read_some().await? {
                return if self.bytes.is_empty() {
                    Ok(None)
                } else {
                    Err(ChannelError::Cut)
                };
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<(Message, bool)>, ChannelError> {
        let Some((head, rest)) = self.bytes.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > LONGEST {
            return Err(ChannelError::TooLong { length });
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(ChannelError::NotUnderstood)?;
        let with_descriptor = head[4] != 0;
        self.bytes.drain(..HEAD + length);
        Ok(Some((message, with_descriptor)))
    }

    async fn read_some(&mut self) -> Result<bool, ChannelError> {
        let Self {
            stream,
            bytes,
            descriptors,
        } = self;
        let got = stream
            .async_io(Interest::READABLE, || {
                receive_some(stream, bytes, descriptors)
            })
            .await?;
        Ok(got > 0)
    }
}

/// Whether the other side would take it: one that is too long ends the connection.
pub fn fits(message: &Message) -> bool {
    frame(message, false).is_ok()
}

fn frame(message: &Message, with_descriptor: bool) -> Result<Vec<u8>, ChannelError> {
    let mut frame = vec![0; HEAD];
    serde_json::to_writer(&mut frame, message).map_err(ChannelError::NotUnderstood)?;
    let length = frame.len() - HEAD;
    if length > LONGEST {
        return Err(ChannelError::TooLong { length });
    }
    let bytes = u32::try_from(length).expect("LONGEST fits").to_be_bytes();
    frame[..4].copy_from_slice(&bytes);
    frame[4] = u8::from(with_descriptor);
    Ok(frame)
}

fn send_some(
    stream: &UnixStream,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "the space is for one descriptor");
    }
    let sent = sendmsg(
        stream.as_fd(),
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    Ok(sent)
}

fn receive_some(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 16 << 10];
    let received = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            descriptors.extend(arrived);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "descriptors were lost on the way: raise the limit of open files",
        ));
    }
    bytes.extend_from_slice(&buffer[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests;
