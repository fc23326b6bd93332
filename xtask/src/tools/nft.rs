//! nft, whose rules a bench compares the kernel programs with.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::command::probe;

/// nft of this machine, else Debian's package is installed; its service is not switched on by that.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    apt::install(&["nftables"])?;
    find().context("nft does not run although nftables is installed")
}

/// Also where the path of a user leaves it out.
fn find() -> Option<PathBuf> {
    let candidates = ["nft", "/usr/sbin/nft"].map(PathBuf::from);
    candidates
        .into_iter()
        .find(|nft| probe(nft, &["--version"]).is_some())
}
