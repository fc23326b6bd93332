//! Cargo subcommands, built from source with their own lock files.

use std::path::PathBuf;

use anyhow::Result;

use super::Cache;
use crate::command::{capture, cargo};

pub(crate) fn nextest(cache: &Cache) -> Result<PathBuf> {
    install(cache, "cargo-nextest", "0.9.151")
}

pub(crate) fn deny(cache: &Cache) -> Result<PathBuf> {
    install(cache, "cargo-deny", "0.20.2")
}

fn install(cache: &Cache, name: &str, version: &str) -> Result<PathBuf> {
    let what = format!("{name} {version}, built from source once: some minutes");
    let root = cache.ensure(name, version, &what, |directory| {
        let mut install = cargo();
        install
            .args([
                "install",
                "--locked",
                "--quiet",
                "--version",
                version,
                name,
                "--root",
            ])
            .arg(directory);
        // The target directory of this workspace would be kept busy and grow by another tree of dependencies.
        capture(install.env_remove("CARGO_TARGET_DIR"))?;
        Ok(())
    })?;
    Ok(root.join("bin").join(name))
}
