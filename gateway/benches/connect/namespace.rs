//! A network namespace, a table of mounts and a BPF file system that nobody else sees. They go with this
//! process, however it ends, and with them all that is pinned.

use std::{
    net::{IpAddr, TcpListener},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use sallyport::redirect::{BPFFS, netns_cookie};

use crate::network::FAMILIES;

/// Moves this process, which must not have threads yet, and returns the cookie of the network namespace left.
pub(crate) fn enter() -> Result<u64> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "this bench loads kernel programs and makes namespaces and cgroups: run it as root, \
         with `sudo -E cargo xtask bench connect`"
    );
    let host = TcpListener::bind("127.0.0.1:0").and_then(netns_cookie)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("cannot make namespaces; a container needs to be privileged for that")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let none = MsFlags::empty();
    mount(Some("bpf"), BPFFS, Some("bpf"), none, None::<&str>)
        .with_context(|| format!("cannot mount a BPF file system at {BPFFS}"))?;
    bring_loopback_up()?;
    Ok(host)
}

fn bring_loopback_up() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    FAMILIES
        .into_iter()
        .flat_map(|family| [family.api().ip(), family.elsewhere().ip()])
        .try_for_each(add)
}

fn add(address: IpAddr) -> Result<()> {
    let (prefix, last): (_, &[&str]) = match address {
        IpAddr::V4(_) => (32, &[]),
        IpAddr::V6(_) => (128, &["nodad"]),
    };
    let address = format!("{address}/{prefix}");
    let arguments = ["address", "add", &address, "dev", "lo"];
    ip(&[&arguments, last].concat())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .context("cannot run ip; install iproute2")?;
    if !status.success() {
        bail!("`ip {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}
