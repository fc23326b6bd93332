//! `node.yaml`: the configuration of the node agent, every value parsed.
//!
//! One file serves every node. What differs from node to node comes from the environment, where a pod's
//! downward API puts it: `NODE_NAME`, and `POD_NAMESPACE`, `POD_NAME` and `POD_UID`.

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

pub use self::destination::PublicName;
use super::{Admin, ConfigError, HumanDuration, file, yaml_problem};

mod destination;

/// `node.yaml`. Unknown fields are refused.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Node object's name; `NODE_NAME` where absent.
    pub node: String,
    /// In-cluster configuration where absent.
    pub kubeconfig: Option<PathBuf>,
    /// Where gateway and node agent meet; in a directory of the host.
    pub socket: PathBuf,
    /// The user that the gateway runs as, and the only one who may connect.
    pub gateway_uid: u32,
    /// The host's cgroup2 mount; found where absent.
    pub cgroup_root: Option<PathBuf>,
    /// The cgroup of all pods, relative to `cgroup_root`; found below that where absent.
    pub kubepods: Option<PathBuf>,
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// The node's own network namespace, whose connections pass: `<proc>/1/ns/net` where absent.
    pub host_netns: PathBuf,
    /// The directory on a bpffs that holds programs and maps while no process of ours runs.
    pub pins: PathBuf,
    pub profile: Profile,
    pub ports: Ports,
    pub destinations: ConfiguredDestinations,
    pub cloud_metadata: CloudMetadata,
    /// Audiences of the API server beside the [usual ones](crate::audience::USUAL_API_AUDIENCES): a pod with a token
    /// for one of these has to be made anew.
    pub api_audiences: Vec<String>,
    /// The pod that this agent runs in, which passes whatever its labels say; `POD_NAMESPACE`, `POD_NAME` and
    /// `POD_UID` where absent, and none where these are not set either.
    pub own_pod: Option<OwnPod>,
    /// `/metrics`, `/healthz` and `/readyz`; none where absent.
    pub admin: Option<Admin>,
    /// How often what is there is compared with what should be.
    pub reconcile_interval: Duration,
}

/// What becomes of connections of a pod that is not classified yet, which happens while no node agent runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// They pass: nodes are shared with pods that are no agents, and an agent's credential is the boundary.
    #[default]
    Shared,
    /// They are taken for an agent's: nothing else runs on these nodes.
    Dedicated,
}

/// Loopback ports inside of agents' pods, one a destination, which agents cannot bind.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    pub first: NonZeroU16,
    pub count: NonZeroU16,
}

impl Default for Ports {
    fn default() -> Self {
        const FIRST: NonZeroU16 = NonZeroU16::new(15300).expect("not zero");
        const COUNT: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
        Self {
            first: FIRST,
            count: COUNT,
        }
    }
}

/// Below are the ports that need a capability to bind.
const FIRST_UNPRIVILEGED: u32 = 1024;
/// Services of type NodePort.
const NODE_PORTS: RangeInclusive<u32> = 30000..=32767;
/// Linux gives these to outgoing connections unless told otherwise, and one that exists keeps its port.
const EPHEMERAL: RangeInclusive<u32> = 32768..=60999;

impl Ports {
    fn check(self) -> Result<(), String> {
        let (first, count) = (u32::from(self.first.get()), u32::from(self.count.get()));
        let last = first + count - 1;
        let meets = |range: RangeInclusive<u32>| first <= *range.end() && last >= *range.start();
        if count > sallyport_common::MAX_DESTINATIONS {
            let most = sallyport_common::MAX_DESTINATIONS;
            return Err(format!(
                "ports.count: {count} is more than the {most} destinations there can be"
            ));
        }
        if first < FIRST_UNPRIVILEGED || last > u32::from(u16::MAX) {
            return Err(format!(
                "ports: {first} to {last} must lie within 1024 to 65535"
            ));
        }
        if meets(NODE_PORTS) {
            return Err(format!(
                "ports: {first} to {last} meet the node ports of Services, 30000 to 32767"
            ));
        }
        if meets(EPHEMERAL) {
            return Err(format!(
                "ports: {first} to {last} meet the ports that outgoing connections get, 32768 to 60999"
            ));
        }
        Ok(())
    }
}

/// Ways to the API server that the cluster itself does not know.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ConfiguredDestinations {
    /// Public names with their ports, resolved again and again: `api.example.com:443`.
    pub names: Vec<PublicName>,
    /// Addresses with their ports: `203.0.113.7:6443`, `[2001:db8::7]:443`.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<SocketAddr>,
}

/// Whether agents may reach the cloud's metadata service, which hands out the node's credentials.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum CloudMetadata {
    #[default]
    Deny,
    Allow,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OwnPod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    node: Option<String>,
    kubeconfig: Option<PathBuf>,
    #[serde(default = "default_socket")]
    socket: PathBuf,
    gateway_uid: u32,
    cgroup_root: Option<PathBuf>,
    kubepods: Option<PathBuf>,
    #[serde(default = "default_proc")]
    proc: PathBuf,
    host_netns: Option<PathBuf>,
    #[serde(default = "default_pins")]
    pins: PathBuf,
    #[serde(default)]
    profile: Profile,
    #[serde(default)]
    ports: Ports,
    #[serde(default)]
    destinations: ConfiguredDestinations,
    #[serde(default)]
    cloud_metadata: CloudMetadata,
    #[serde(default)]
    api_audiences: Vec<String>,
    own_pod: Option<OwnPod>,
    admin: Option<Admin>,
    #[serde(default = "default_reconcile_interval")]
    reconcile_interval: HumanDuration,
}

fn default_socket() -> PathBuf {
    "/run/sallyport/node.sock".into()
}

fn default_proc() -> PathBuf {
    "/proc".into()
}

fn default_pins() -> PathBuf {
    "/sys/fs/bpf/sallyport".into()
}

fn default_reconcile_interval() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
}

impl NodeConfig {
    /// Reads and checks `path`. Relative paths inside it are relative to its directory, except `kubepods`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let parse = |text: &str| Self::parse(text, |name| std::env::var(name).ok());
        file::load(path, parse, Self::resolve)
    }

    /// Parses and checks `text`; the error names line and field.
    pub fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let written: Written =
            serde_saphyr::from_str(text).map_err(|error| yaml_problem(&error))?;
        written.ports.check()?;
        check_reconcile_interval(written.reconcile_interval.0)?;
        let node = written.node.or_else(|| set("NODE_NAME"));
        Ok(Self {
            node: node.filter(|node| !node.is_empty()).ok_or(NO_NODE)?,
            own_pod: own_pod(written.own_pod, set)?,
            host_netns: written
                .host_netns
                .unwrap_or_else(|| written.proc.join("1/ns/net")),
            reconcile_interval: written.reconcile_interval.0,
            kubeconfig: written.kubeconfig,
            socket: written.socket,
            gateway_uid: written.gateway_uid,
            cgroup_root: written.cgroup_root,
            kubepods: written.kubepods,
            proc: written.proc,
            pins: written.pins,
            profile: written.profile,
            ports: written.ports,
            destinations: written.destinations,
            cloud_metadata: written.cloud_metadata,
            api_audiences: written.api_audiences,
            admin: written.admin,
        })
    }

    fn resolve(&mut self, base: &Path) {
        let paths = [
            &mut self.socket,
            &mut self.proc,
            &mut self.host_netns,
            &mut self.pins,
        ];
        let optional = [&mut self.kubeconfig, &mut self.cgroup_root];
        for path in paths.into_iter().chain(optional.into_iter().flatten()) {
            *path = base.join(&*path);
        }
    }
}

const NO_NODE: &str = "node: write the Node object's name, or set NODE_NAME from spec.nodeName";

/// Coverage that was observed longer ago than two minutes counts as unknown.
fn check_reconcile_interval(interval: Duration) -> Result<(), String> {
    if interval.is_zero() || interval > Duration::from_secs(60) {
        return Err("reconcileInterval: write up to 60s; leave it out for 30s".into());
    }
    Ok(())
}

fn own_pod(
    written: Option<OwnPod>,
    set: impl Fn(&str) -> Option<String>,
) -> Result<Option<OwnPod>, String> {
    if written.is_some() {
        return Ok(written);
    }
    match (set("POD_NAMESPACE"), set("POD_NAME"), set("POD_UID")) {
        (None, None, None) => Ok(None),
        (Some(namespace), Some(name), Some(uid)) => Ok(Some(OwnPod {
            namespace,
            name,
            uid,
        })),
        _ => {
            Err("ownPod: POD_NAMESPACE, POD_NAME and POD_UID are set together or not at all".into())
        }
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| address(text).map_err(de::Error::custom))
        .collect()
}

/// A v4-mapped address is the IPv4 address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port: write 203.0.113.7:6443 or [2001:db8::7]:443, and names under names")
    })?;
    let ip = address.ip().to_canonical();
    if address.port() == 0 || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        return Err(format!(
            "{text:?} is no address that a pod could reach the API server at"
        ));
    }
    Ok(SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests;
