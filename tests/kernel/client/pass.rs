//! Sockets that one process makes and another one uses.

use std::{
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::{Result, bail};
use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
};
use socket2::{Domain, Socket, Type};

use crate::{calls, connect, verbs};

/// Makes a socket and gives it to whoever listens at `path`.
pub(crate) fn give(path: &Path, family: &str) -> Result<String> {
    let domain = match family {
        "4" => Domain::IPV4,
        _ => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    let receiver = UnixStream::connect(path)?;
    let descriptors = [socket.as_raw_fd()];
    sendmsg::<UnixAddr>(
        receiver.as_raw_fd(),
        &[IoSlice::new(b"a socket")],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )?;
    Ok("given".to_owned())
}

/// Takes a socket that someone gives at `path`, connects it once its turn has come, and does `then` with it.
pub(crate) fn take(
    path: &Path,
    address: SocketAddr,
    then: fn(Socket) -> Result<String>,
) -> Result<String> {
    let listener = UnixListener::bind(path)?;
    verbs::say("ready")?;
    verbs::wait_for_turn()?;
    let (sender, _) = listener.accept()?;
    let socket = receive(&sender)?;
    then(connect::to(socket.into(), address)?)
}

fn receive(sender: &UnixStream) -> Result<OwnedFd> {
    let mut bytes = [0; 64];
    let mut space = cmsg_space!([RawFd; 1]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<UnixAddr>(
        sender.as_raw_fd(),
        &mut buffers,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let [descriptor] = descriptors[..]
        {
            return Ok(calls::own(descriptor));
        }
    }
    bail!("no socket came")
}
