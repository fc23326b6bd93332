//! qemu, which emulates machines for kernels other than this machine's.

use anyhow::{Result, ensure};

use super::apt;
use crate::command::probe;

pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
const DEBIAN_PACKAGE: &str = "qemu-system-x86";

/// Why machines of this kind cannot try Debian's kernels at all, however they are set up.
pub(crate) fn obstacle() -> Option<&'static str> {
    // The machines run programs that were built for this one.
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("they are tried on x86-64 Linux only");
    }
    if probe("apt-get", &["--version"]).is_none() {
        return Some("Debian's kernels come by apt-get, which is not here");
    }
    None
}

/// Installs it where it is missing.
pub(crate) fn ensure() -> Result<()> {
    if !is_usable() {
        apt::install(&[DEBIAN_PACKAGE])?;
        ensure!(is_usable(), "{DEBIAN_PACKAGE} brought no {PROGRAM}");
    }
    Ok(())
}

fn is_usable() -> bool {
    probe(PROGRAM, &["--version"]).is_some()
}
