//! `cargo xtask tools`: brings what is missing on this machine into the cache.
//!
//! A missing cache only makes a run slower. Every tool has a pinned version and a directory of its own;
//! [`cache::Cache`] says how half-finished downloads and concurrent runs are kept apart.

use std::path::Path;

use anyhow::Result;

pub(crate) use self::cache::Cache;
use self::programs::{IP, NFT, QEMU};
use crate::command::is_root;

mod apt;
mod cache;
pub(crate) mod cargo_tools;
pub(crate) mod cluster;
pub(crate) mod debian_kernels;
mod debian_package;
pub(crate) mod ebpf;
pub(crate) mod faketime;
pub(crate) mod go_client;
pub(crate) mod golang;
pub(crate) mod layer;
pub(crate) mod nginx;
mod node;
pub(crate) mod oidc;
pub(crate) mod programs;
pub(crate) mod python;

pub(crate) fn run() -> Result<()> {
    let cache = Cache::open()?;
    // What may need apt first, and what takes longest last: a machine that lacks something says so soon.
    say("python", &python::interpreter(&cache)?);
    say("S3 server", &python::moto(&cache)?);
    say("kernel programs", &ebpf::ensure(&cache)?);
    // Only root can use them.
    if is_root() {
        programs::ensure(&[IP, NFT])?;
    }
    if debian_kernels::obstacle().is_none() {
        programs::ensure(&[QEMU, IP])?;
        say_kernels(&debian_kernels::ensure(&cache)?);
    }
    say("kubectl", &python::kubectl(&cache)?);
    if let Some(clients) = layer::other_clients(&cache)? {
        say("kubectl 1.20", &clients.old_kubectl);
        for helm in &clients.helms {
            say("helm", helm);
        }
    }
    if let Some(library) = faketime::library(&cache)? {
        say("libfaketime", &library);
    }
    say("OIDC provider", oidc::provider(&cache)?.script());
    say("cargo-nextest", &cargo_tools::nextest(&cache)?);
    say("cargo-deny", &cargo_tools::deny(&cache)?);
    say("control plane", &cluster::binary(&cache)?);
    // Its packages are built by then.
    say("Go client", &go_client::binary(&cache)?);
    Ok(())
}

fn say(what: &str, path: &Path) {
    println!("{what:16} {}", path.display());
}

fn say_kernels(found: &debian_kernels::Found) {
    for kernel in &found.kernels {
        say("kernel", &kernel.image);
    }
    for reason in &found.missing {
        println!("{:16} MISSING: {reason}", "kernel");
    }
}

/// The first `major.minor.patch` in `text`; a missing patch is 0.
fn version_in(text: &str) -> Option<[u32; 3]> {
    let start = text.find(|character: char| character.is_ascii_digit())?;
    let version = text[start..]
        .split(|character: char| !character.is_ascii_digit() && character != '.')
        .next()?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    Some([parts.next()?, parts.next()?, parts.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_read_from_what_tools_print() {
        for (text, version) in [
            ("go version go1.26.8 linux/amd64", [1, 26, 8]),
            ("go version go1.27rc1 linux/amd64", [1, 27, 0]),
            ("v20.20.2\n", [20, 20, 2]),
        ] {
            assert_eq!(version_in(text), Some(version), "{text}");
        }
        assert_eq!(version_in("no such thing"), None);
    }
}
