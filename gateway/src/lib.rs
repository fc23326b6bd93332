//! # Sallyport
//!
//! The gateway between AI agents and the Kubernetes API. An agent holds a token that only the gateway
//! accepts; the gateway holds the credential that the API server accepts. Between the two, each call is
//! authenticated, recorded, judged, forwarded once, and followed to its outcome.
//!
//! Read on in [`proxy`]: `Gateway::pipeline` is one screen long, and its order is the security model.
//! [`manual`] says why it is so. The modules below are in the order in which a call meets them.
//!
//! [`node`] is the privileged half: it leads agents' connections to the gateway, and reads nothing that an agent sent.
//!
//! A module imports only from layers above its own in this table, and `cargo xtask ci` checks it. It also checks that
//! `node`, `redirect` and `handover` never use `mask`, `audit`, `policy` or `proxy`:
//!
//! | layer | modules |
//! |---|---|
//! | 0 | `hex` `protobuf` `rates` `reply` |
//! | 1 | `config` `drain` `readiness` `telemetry` `api` `audience` `request_info` `places` |
//! | 2 | `identity` `informer` |
//! | 3 | `mask` `tls` `handover` |
//! | 4 | `audit` `authn` `redirect` |
//! | 5 | `policy` |
//! | 6 | `approval` |
//! | 7 | `proxy` `node` `controller` |
//! | 8 | `admin` `control` |
//! | 9 | `app` |
//! | 10 | `cli` |
#![deny(unsafe_code)]

pub mod manual;

// The data path, in the order in which a call meets it.

// Sends an agent's connections to the gateway instead of the API server: kernel programs and their maps.
#[cfg(target_os = "linux")]
pub mod redirect;
// Finds agents' pods, opens the listeners inside of them, and keeps what is there as it should be. Parses nothing
// that an agent sent, and nobody of the data path names it.
#[cfg(target_os = "linux")]
pub mod node;
// Passes listeners inside of pods from the node agent to the gateway.
#[cfg(target_os = "linux")]
pub mod handover;
// Shows the gateway's serving certificate.
pub mod tls;
// Serves connections and takes each request through the pipeline. Nobody else names the rest.
pub mod proxy;
// Understands a request exactly as kube-apiserver will.
pub mod request_info;
// Reads the API server's protobuf as JSON.
pub mod protobuf;
// Turns a credential into an identity.
pub mod authn;
// Says who is calling: user, pod, agent, model, CI run, and who vouches for each.
pub mod identity;
// Judges a call, and says how much of it is recorded. The only maker of a permit.
pub mod policy;
// Asks people about a call, and lets what they approved be used once.
pub mod approval;
// Hides secrets. The only maker of what a record accepts.
pub mod mask;
// Makes records durable, writes them as Parquet, and reads them back.
pub mod audit;

// Keeps what people see of approvals and policies right, tells webhooks, and takes what they answer.
pub mod controller;

// The life of the process.

// The objects that people write: policies, agents, stops, decisions.
pub mod api;
// Hears of such objects from the API server, and keeps what it knows while that is away.
pub mod informer;
// The configuration file, parsed.
pub mod config;
// Builds every part and owns the order of going down.
pub mod app;
// Metrics, health and readiness over plain HTTP.
pub mod admin;
// What the controller asks of a gateway: records as they become durable, what runs, the end of one call,
// and the stops it brings.
pub mod control;
// Accepts connections of listeners beside the data path, so that no address keeps the others out.
pub mod places;
// Going down in order.
pub mod drain;
// Who is not ready yet.
pub mod readiness;
// Logs of this process.
pub mod telemetry;
// The command line, a file per noun.
pub mod cli;

// Whom a token is for, and so who accepts it.
pub mod audience;
// How digests are written.
pub mod hex;
// How often one of many may do something.
pub mod rates;
// Answers of the APIs that people and controllers call.
pub mod reply;

pub use audience::AUDIENCE;
