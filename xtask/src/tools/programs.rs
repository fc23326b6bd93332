//! Programs of the machine that come from Debian's packages where they are missing.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::command::{capture, command};

#[derive(Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// Makes networks for pods.
pub(crate) const IP: Program = Program {
    name: "ip",
    package: "iproute2",
};
/// Does kube-proxy's work, and is what a bench compares the kernel programs with. Installing it switches no service on.
pub(crate) const NFT: Program = Program {
    name: "nft",
    package: "nftables",
};
/// Emulates machines for kernels other than this machine's.
pub(crate) const QEMU: Program = Program {
    name: "qemu-system-x86_64",
    package: "qemu-system-x86",
};

/// Installs what is missing of `programs`.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| program.path().is_err())
        .map(|program| program.package)
        .collect();
    match missing[..] {
        [] => Ok(()),
        _ => apt::install(&missing),
    }
}

impl Program {
    /// Where it is. Not everybody's own path names the directories of administrators.
    pub(crate) fn path(self) -> Result<PathBuf> {
        let find = format!("PATH=$PATH:/usr/sbin:/sbin; command -v {}", self.name);
        let path = capture(command("sh").args(["-c", &find]))
            .with_context(|| format!("{} is not installed", self.name))?;
        Ok(path.trim_end().into())
    }
}
