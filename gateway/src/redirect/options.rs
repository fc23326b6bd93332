use std::path::PathBuf;

use sallyport_common::{Settings, Unclassified};

use super::CgroupId;

/// What a node's redirect has to know before anything is attached.
#[derive(Clone, Debug)]
pub struct Options {
    /// A directory of our own in the BPF file system, made where it is missing.
    pub pins: PathBuf,
    /// The cgroup that all pods of the node are below.
    pub kubepods: PathBuf,
    /// `SO_NETNS_COOKIE` of the node's network namespace, whose connections pass; none where nothing is exempt.
    pub host_netns: Option<u64>,
    /// What becomes of connections of pods that are not classified.
    pub unclassified: Unclassified,
    /// The ports of the listeners in agent pods, which nobody else may bind there.
    pub ports: ReservedPorts,
}

/// A range of ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReservedPorts {
    pub first: u16,
    pub count: u16,
}

impl ReservedPorts {
    pub fn contains(&self, port: u16) -> bool {
        port.wrapping_sub(self.first) < self.count
    }
}

impl Options {
    pub(super) fn settings(&self, kubepods: CgroupId) -> Settings {
        Settings {
            host_netns: self.host_netns.unwrap_or(0),
            kubepods: kubepods.0,
            unclassified: self.unclassified as u32,
            first_port: self.ports.first,
            ports: self.ports.count,
        }
    }
}
