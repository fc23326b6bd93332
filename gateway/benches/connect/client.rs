//! The process that connects and times itself.
//!
//! It makes the listeners before it enters a pod's cgroup, as the node agent does from outside: the programs of
//! a pod run for the sockets that are made in it. Sockets are made ahead and connections are accepted behind, so
//! that `connect` is all that is timed, with the handshake, which on loopback takes place within it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::{
    libc::linger,
    sys::{
        resource::{UsageWho, getrusage},
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind, connect,
            setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use serde::{Deserialize, Serialize};

use crate::network;

/// The argument that makes this binary the client.
pub(crate) const ROLE: &str = "the-client";

/// Few, so that they are mostly made before another process has its turn on the CPU.
const BATCH: usize = 32;
/// What counts in one turn.
const BATCHES: usize = 64;
/// Where the machine is so busy that there are not so many undisturbed ones, those that there are count.
const MOST_BATCHES: usize = 4 * BATCHES;

/// What the client is asked to do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    /// The cgroup that it makes its sockets in.
    pub(crate) cgroup: PathBuf,
    pub(crate) call: Call,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Call {
    Connect {
        to: SocketAddr,
        /// The listener that takes these connections.
        lands_on: SocketAddr,
    },
    Bind {
        address: SocketAddr,
    },
}

/// What it says then.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Turn {
    /// How many it has made in all.
    pub(crate) calls: usize,
    /// What one took.
    pub(crate) nanoseconds: f64,
}

/// A client that runs. Dropping it ends it.
pub(crate) struct Client {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(env::current_exe()?)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that connects")?;
        let orders = child.stdin.take().expect("stdin is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Ok(Self {
            child,
            orders,
            answers,
        })
    }

    pub(crate) fn take_turn(&mut self, order: &Order) -> Result<Turn> {
        let ended = || format!("the process that connects has ended at {order:?}");
        writeln!(self.orders, "{}", serde_json::to_string(order)?).with_context(ended)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(ended)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has to be gone before its cgroup can go.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

type Listeners = BTreeMap<SocketAddr, TcpListener>;

pub(crate) fn run() -> Result<()> {
    let listeners = network::listeners()
        .map(|address| Ok((address, listen(address)?)))
        .collect::<Result<Listeners>>()?;
    let mut entered = PathBuf::new();
    for line in io::stdin().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        if entered != order.cgroup {
            enter(&order.cgroup)?;
            entered.clone_from(&order.cgroup);
        }
        let turn = turn(&order.call, &listeners)?;
        println!("{}", serde_json::to_string(&turn)?);
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} in a namespace of our own"))?;
    // What does not arrive is an error, and no wait.
    setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
    Ok(listener)
}

fn enter(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot enter the cgroup {}", cgroup.display()))
}

/// The mean of the batches that no other process has interrupted: some pay for what the kernel's maps put off, so
/// that the median would be too good. The first is for nothing.
fn turn(call: &Call, listeners: &Listeners) -> Result<Turn> {
    batch(call, listeners)?;
    let (mut quiet, mut all) = (Vec::new(), Vec::new());
    while quiet.len() < BATCHES && all.len() < MOST_BATCHES {
        let switches = switches()?;
        let nanoseconds = batch(call, listeners)?;
        all.push(nanoseconds);
        if self::switches()? == switches {
            quiet.push(nanoseconds);
        }
    }
    let calls = (1 + all.len()) * BATCH;
    let counting = if quiet.is_empty() { all } else { quiet };
    Ok(Turn {
        calls,
        nanoseconds: counting.iter().sum::<f64>() / counting.len() as f64,
    })
}

/// How often this thread has left its CPU; `connect` does not wait on loopback.
fn switches() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    Ok(usage.involuntary_context_switches() + usage.voluntary_context_switches())
}

/// Nanoseconds for each call.
fn batch(call: &Call, listeners: &Listeners) -> Result<f64> {
    match call {
        Call::Connect { to, lands_on } => {
            let listener = listeners.get(lands_on).context("no such listener")?;
            let nanoseconds = timed(*to, connect)?;
            take(listener).with_context(|| format!("no connection to {to} at {lands_on}"))?;
            Ok(nanoseconds)
        }
        Call::Bind { address } => timed(*address, bind),
    }
}

/// Calls the kernel once for each socket of a batch.
fn timed(
    address: SocketAddr,
    call: fn(RawFd, &dyn SockaddrLike) -> nix::Result<()>,
) -> Result<f64> {
    let sockets = (0..BATCH)
        .map(|_| unconnected(address))
        .collect::<Result<Vec<_>>>()?;
    let address = SockaddrStorage::from(address);
    let start = Instant::now();
    for socket in &sockets {
        call(socket.as_raw_fd(), &address)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / BATCH as f64)
}

/// Accepts a batch, whose other ends are closed.
fn take(listener: &TcpListener) -> io::Result<()> {
    (0..BATCH).try_for_each(|_| listener.accept().map(drop))
}

/// A socket that is reset when it is closed, so that nothing waits for its port to be free again.
fn unconnected(to: SocketAddr) -> Result<OwnedFd> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let at_once = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket, sockopt::Linger, &at_once)?;
    Ok(socket)
}
