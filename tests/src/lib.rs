//! What the tests stand on: a real control plane, a real OIDC provider, the real gateway binary and
//! unmodified clients. `cargo xtask test` starts the first two and names everything in the environment.
//!
//! | variable | names |
//! |---|---|
//! | `SALLYPORT_TEST_CLUSTER` | the JSON that `sallyport-test-cluster up` prints, or a file with it |
//! | `SALLYPORT_TEST_CLUSTER_BINARY` | `sallyport-test-cluster`, for tests that start a control plane of their own |
//! | `SALLYPORT_TEST_INSTALLED_CLUSTER` | likewise, a second control plane, on which Sallyport is installed |
//! | `SALLYPORT_TEST_KUBECONFIG` | instead of it: an administrator's kubeconfig of any cluster |
//! | `SALLYPORT_TEST_OIDC` | the JSON that `tests/oidc/provider.mjs` prints, or a file with it |
//! | `SALLYPORT_TEST_GATEWAY` | the `sallyport` binary |
//! | `SALLYPORT_TEST_KUBECTL` | kubectl |
//! | `SALLYPORT_TEST_GO_CLIENT` | `sallyport-go-client` of `tests/clients/go` |
//! | `SALLYPORT_TEST_OLD_KUBECTL` | kubectl 1.20, where there is one for this machine |
//! | `SALLYPORT_TEST_FAKETIME` | libfaketime, where there is one for this machine |
//! | `SALLYPORT_TEST_HELMS` | helm 3 and helm 4, separated by a colon, where there are such |
//! | `SALLYPORT_POD_PATH` | directories whose programs pods with a network of their own can run by name |
//! | `SALLYPORT_TEST_TIER` | `soak` for full counts |
//! | `SALLYPORT_TEST_KUBERNETES_EXAMPLES` | directories of Kubernetes' own example objects, separated by a colon |
//! | `SALLYPORT_TEST_PYTHON` | a Python that can import `kubernetes` and `duckdb` |
//! | `SALLYPORT_TEST_MOTO` | a Python that can import `moto.server` |

pub use self::{
    cluster::{Api, Certificates, Cluster},
    controller::{Controller, Objects},
    frames::Frames,
    gateway::{Gateway, Settings},
    go_client::GoClient,
    installation::Installation,
    kubectl::Kubectl,
    namespace::{Namespace, Pod},
    oidc::Oidc,
    private_cluster::PrivateCluster,
    process::{Follower, Output},
    raw::{Exchange, RawClient, Response},
    relay::Relay,
    sallyport::Sallyport,
    server::Server,
    tier::of_tier,
    tools::Tools,
    wait::eventually,
    websocket::WebSocket,
    wire::{Answer, Call, Protocol, Wire},
};
#[cfg(target_os = "linux")]
pub use self::{
    networked_pod::NetworkedPod,
    node_agent::NodeAgent,
    oracle::{Oracle, Packet},
    receiver::{Answers, Received, Receiver, signature},
    scripted_node::{NodeSocket, ScriptedNode},
    small_disk::SmallDisk,
};

mod clock;
mod cluster;
mod controller;
mod environment;
pub mod frames;
mod gateway;
mod go_client;
mod installation;
pub mod jwt;
mod kubectl;
mod namespace;
#[cfg(target_os = "linux")]
mod networked_pod;
#[cfg(target_os = "linux")]
mod node_agent;
mod objects;
mod oidc;
#[cfg(target_os = "linux")]
mod oracle;
mod private_cluster;
mod process;
mod raw;
#[cfg(target_os = "linux")]
mod receiver;
mod relay;
pub mod s3;
#[cfg(target_os = "linux")]
mod scripted_node;
mod server;
mod sallyport;
#[cfg(target_os = "linux")]
mod small_disk;
mod tier;
mod tools;
mod wait;
mod websocket;
mod wire;
