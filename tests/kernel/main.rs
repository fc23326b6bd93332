//! The kernel programs in a real kernel. Root is needed; where something is missing a test fails
//! and says what, since a skipped test would look like a passed one.
//!
//! Each test has cgroups of its own, pins of its own and, where packets matter, network namespaces of its own,
//! and removes them. What a process in a pod does, the binary `kernel-client` does.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bind;
mod capture;
mod cgroup;
mod classify;
mod connect;
mod destinations;
mod foreign;
mod greeter;
mod guard;
mod leftovers;
mod links;
mod load;
mod log;
mod pods;
mod multipath;
mod netns;
mod node;
mod packet;
mod pass;
mod pins;
mod probe;
mod process;
mod record;
mod scene;
mod storm;
