//! What the `kernel` tests put into a cgroup: waits for its turn, does one thing, says how it went.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod connect;
#[cfg(target_os = "linux")]
mod kube_rs;
#[cfg(target_os = "linux")]
mod pass;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod verbs;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    verbs::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the kernel programs are for Linux");
    ExitCode::FAILURE
}
