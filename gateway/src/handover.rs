//! What the node agent and the gateway say to each other, and how listeners change hands.
//!
//! Both hold every listener, so that either may end and come back while clients wait in the kernel's queue
//! instead of being refused. They talk over one unix socket in a directory of the host:
//!
//! ```text
//! gateway                                          node agent
//!   Hello ───────────────────────────────────────▶
//!   Pod, Listener+fd … (what it still holds), Synced ─▶  adopts those whose pod is still the same
//!                          ◀─────────────────────── Hello
//!                          ◀── Pod, Listener+fd … (what the other lacks), Synced
//!                          ◀── Pod, Listener+fd, Gone   as pods come, change and go
//!   Asking ──────────────────────────────────────▶
//!                          ◀─────────────────────── Process
//! ```
//!
//! A new node agent says the same to the old one, with [`Role::Node`], and the old one answers with all it
//! holds, then stops acting. A message that is not understood ends the connection: versions are told apart
//! in `Hello`, and unknown fields are ignored.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::channel::{ChannelError, Receiver, Sender, channel, fits};
use crate::identity::{Process, Workload};

mod channel;

/// Raised when a message changes its meaning; a peer with another one is refused.
pub const PROTOCOL: u32 = 1;

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// The first from either side.
    Hello {
        protocol: u32,
        role: Role,
    },
    /// Comes before the pod's listeners, and again when its labels or images change.
    Pod(CapturedPod),
    /// Carries one descriptor, the listening socket.
    Listener(Listener),
    /// Everything known at the moment has been said.
    Synced,
    /// The pod has ended, or is no agent any more: its listeners are closed.
    #[serde(rename_all = "camelCase")]
    Gone {
        pod_uid: String,
    },
    /// Which process made the connection that arrived from `peer`, in the network namespace `netns_cookie`?
    #[serde(rename_all = "camelCase")]
    Asking {
        id: u64,
        netns_cookie: u64,
        peer: SocketAddr,
    },
    Process {
        id: u64,
        process: Option<Process>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Gateway,
    Node,
}

/// A pod whose connections to the API server end at listeners in its own network namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturedPod {
    pub workload: Workload,
    /// `SO_NETNS_COOKIE` of its listeners; an accepted socket with another one is not from this pod.
    pub netns_cookie: u64,
    /// Whether the pod was made before its namespace was an agents' namespace: its token and its CA are not ours.
    pub needs_recreate: bool,
}

/// A listening socket inside a pod, for one destination.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub pod_uid: String,
    /// Where the connections that arrive here were going.
    pub destination: SocketAddr,
    /// Names under which clients know the destination, for the certificate; its address is one without saying.
    pub names: Vec<String>,
}
