//! Debian packages, where a machine lacks what no cache can hold.

use anyhow::{Result, bail};

use crate::{
    command::{capture, command, is_root, line, probe},
    progress,
};

/// Installs `packages`; without root or apt the error says what a person has to run.
///
/// Nothing that is there is taken away for it: Debian's `rustc-web` would replace its `rustc`.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let mut install = command("apt-get");
    install
        .args(["install", "-y", "--no-remove", "--no-install-recommends"])
        .args(packages);
    if probe("apt-get", &["--version"]).is_none() {
        bail!(
            "this machine has no apt-get; install the equivalent of: {}",
            packages.join(" ")
        );
    }
    if !is_root() {
        bail!(
            "root is needed once; run this and try again: sudo apt-get update && sudo {}",
            line(&install)
        );
    }
    progress::step(format!("apt-get install {}", packages.join(" ")), || {
        update()?;
        let waiting = ["-o", "DPkg::Lock::Timeout=300", "-q"];
        capture(
            install
                .args(waiting)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )?;
        Ok(())
    })
}

/// Has apt read its archives' lists anew, which takes root.
pub(super) fn update() -> Result<()> {
    let mut update = command("apt-get");
    update.args(["update", "-q"]);
    capture(update.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}
