//! qemu, which emulates machines for kernels other than this machine's, and what is copied into them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::command::{capture, command, probe};

pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

const DEBIAN_PACKAGES: [(&str, &str); 2] = [(PROGRAM, "qemu-system-x86"), ("ip", "iproute2")];

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

/// Installs what is missing.
pub(crate) fn ensure() -> Result<()> {
    let missing = DEBIAN_PACKAGES
        .iter()
        .filter(|(program, _)| path(program).is_err());
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    match packages[..] {
        [] => Ok(()),
        _ => apt::install(&packages),
    }
}

/// Where a program is. Not everybody's own path names the directories of administrators.
pub(crate) fn path(program: &str) -> Result<PathBuf> {
    let find = format!("PATH=$PATH:/usr/sbin:/sbin; command -v {program}");
    let path = capture(command("sh").args(["-c", &find]))
        .with_context(|| format!("{program} is not installed"))?;
    Ok(path.trim_end().into())
}
