//! Programs from crates.io, built from source with their own lock files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Cache;
use crate::command::{capture, cargo};

pub(crate) fn nextest(cache: &Cache) -> Result<PathBuf> {
    let what = "cargo-nextest, built from source once: some minutes";
    // Without what updates itself from elsewhere.
    let features = ["--no-default-features", "--features", "default-no-update"];
    install(cache, "cargo-nextest", "0.9.151", what, |install| {
        install.args(features);
    })
}

pub(crate) fn deny(cache: &Cache) -> Result<PathBuf> {
    let what = "cargo-deny, built from source once: some minutes";
    install(cache, "cargo-deny", "0.20.2", what, |_| {})
}

fn install(
    cache: &Cache,
    name: &str,
    version: &str,
    what: &str,
    adjust: impl FnOnce(&mut Command),
) -> Result<PathBuf> {
    let root = cache.ensure(name, version, what, |directory| {
        build(cache, name, version, directory, adjust)
    })?;
    Ok(root.join("bin").join(name))
}

/// Builds the programs of a crate into `directory`.
///
/// They run for seconds, so they are built to be built soon: their release profiles (cargo-deny's has one
/// codegen unit and fat LTO) take several times as long. An interrupted build goes on where it was.
pub(super) fn build(
    cache: &Cache,
    name: &str,
    version: &str,
    directory: &Path,
    adjust: impl FnOnce(&mut Command),
) -> Result<()> {
    let target = cache.root().join(name).join(".target");
    let mut install = cargo();
    forget_build_settings(&mut install);
    install
        .args(["install", name, "--version", version])
        .args(["--locked", "--quiet", "--debug", "--root"])
        .arg(directory)
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0");
    adjust(&mut install);
    capture(&mut install)?;
    fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))
}

/// Drops what a person may have set for builds of this workspace.
pub(super) fn forget_build_settings(command: &mut Command) {
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(variable);
    }
}
