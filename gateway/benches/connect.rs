//! What the kernel programs cost a `connect(2)`, of agent pods and of all the others.
//!
//! One process connects to listeners on loopback, in a network namespace of its own, and lands on the same
//! listeners with nothing attached, with the programs attached, and with an nftables rule that redirects. The
//! sides take turns, and medians are compared. What the programs themselves take is the kernel's own count, in
//! turns of their own, since counting costs as well.
//!
//! Root is needed. `SALLYPORT_BENCH_NFT` names nft where it is not on the path; `cargo xtask bench` sets it.

#[cfg(target_os = "linux")]
#[path = "connect/cgroups.rs"]
mod cgroups;
#[cfg(target_os = "linux")]
#[path = "connect/client.rs"]
mod client;
#[cfg(target_os = "linux")]
#[path = "connect/hooks.rs"]
mod hooks;
#[cfg(target_os = "linux")]
#[path = "connect/measure.rs"]
mod measure;
#[cfg(target_os = "linux")]
#[path = "connect/namespace.rs"]
mod namespace;
#[cfg(target_os = "linux")]
#[path = "connect/network.rs"]
mod network;
#[cfg(target_os = "linux")]
#[path = "connect/nftables.rs"]
mod nftables;
#[cfg(target_os = "linux")]
#[path = "connect/row.rs"]
mod row;
#[cfg(target_os = "linux")]
#[path = "connect/run_time.rs"]
mod run_time;
#[cfg(target_os = "linux")]
#[path = "connect/side.rs"]
mod side;
#[cfg(target_os = "linux")]
#[path = "connect/site.rs"]
mod site;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(client::ROLE) {
        return client::run();
    }
    measure::run(&mut site::Site::open()?)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("error: the kernel programs, and so this bench, are for Linux");
    std::process::exit(1);
}
