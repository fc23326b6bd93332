//! `ip` and `nft`, with which the test node makes networks for pods.

use anyhow::Result;

use super::apt;
use crate::command::probe;

const PROGRAMS: &[(&str, &[&str], &str)] = &[
    ("ip", &["-V"], "iproute2"),
    ("nft", &["--version"], "nftables"),
];

/// Installs what is missing.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, version, _)| probe(program, version).is_none())
        .map(|(_, _, package)| *package)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => apt::install(&missing),
    }
}
