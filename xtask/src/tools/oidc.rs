//! The OIDC provider of `tests/oidc`: a real one from npm, not a fake of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Cache, cache::digest, node::Node};
use crate::{
    command::{capture, command},
    workspace,
};

/// The provider's script with its packages installed beside it.
pub(crate) struct Provider {
    node: PathBuf,
    script: PathBuf,
}

impl Provider {
    pub(crate) fn script(&self) -> &Path {
        &self.script
    }

    /// The command that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut provider = command(&self.node);
        provider.arg(&self.script);
        provider
    }
}

/// Installs the provider into the cache, sources included: ES modules find packages only in directories
/// above their own, and the tree stays clean.
pub(crate) fn provider(cache: &Cache) -> Result<Provider> {
    let sources = workspace::root().join("tests/oidc");
    let node = Node::find(cache)?;
    let installed = cache.ensure(
        "oidc",
        &digest(&sources)?,
        "the OIDC provider's npm packages",
        |directory| {
            copy(&sources, directory)?;
            let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
            let mut install = node.npm();
            install.args(flags).current_dir(directory);
            let downloads = cache.root().join("npm");
            install.arg("--cache").arg(downloads);
            // It would be another cache, in /tmp.
            capture(install.env("NODE_DISABLE_COMPILE_CACHE", "1")).map(drop)
        },
    )?;
    Ok(Provider {
        node: node.node,
        script: installed.join("provider.mjs"),
    })
}

fn copy(sources: &Path, directory: &Path) -> Result<()> {
    for entry in fs::read_dir(sources)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().context("a directory entry has a name")?;
            fs::copy(&path, directory.join(name))?;
        }
    }
    Ok(())
}
