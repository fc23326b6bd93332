use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};

/// The kernel makes it first of all devices.
const LOOPBACK: i32 = 1;

/// `nlmsghdr` and, in a request, `ifinfomsg`: rtnetlink(7).
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 16;

/// Brings `lo` up, by which it gets 127.0.0.1 and ::1.
pub(crate) fn up() -> Result<()> {
    let route = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(route.as_raw_fd(), &request(), &kernel, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(&answer[..length])
}

fn request() -> Vec<u8> {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let (sequence, port) = ([0; 4], [0; 4]);
    let (family, kind) = ([0; 2], [0; 2]);
    [
        &(REQUEST as u32).to_ne_bytes()[..],
        &libc::RTM_NEWLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence,
        &port,
        &family,
        &kind,
        &LOOPBACK.to_ne_bytes(),
        &up,
        // Which flags to change.
        &up,
    ]
    .concat()
}

/// The answer is an `nlmsgerr`, whose error is 0 where all went well.
fn acknowledged(answer: &[u8]) -> Result<()> {
    let error = answer.get(HEADER..HEADER + 4).context("a short answer")?;
    match i32::from_ne_bytes(error.try_into()?) {
        0 => Ok(()),
        error => bail!(Errno::from_raw(-error)),
    }
}
