//! nginx, which only the benches need.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Cache;
use crate::command::{capture, command, is_root, probe};

/// nginx of this machine, else Debian's package, unpacked: installing it would start a server.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    if probe("nginx", &["-v"]).is_some() {
        return Ok("nginx".into());
    }
    let directory = cache.ensure("nginx", "debian", "nginx from Debian's package", unpack)?;
    Ok(directory.join("usr/sbin/nginx"))
}

fn unpack(directory: &Path) -> Result<()> {
    let download = || {
        capture(
            command("apt-get")
                .args(["download", "nginx"])
                .current_dir(directory),
        )
    };
    if download().is_err() {
        if is_root() {
            capture(command("apt-get").args(["update", "-q"]))?;
        }
        download()?;
    }
    let package = package(directory)?.context("apt-get downloaded no package")?;
    capture(command("dpkg-deb").arg("-x").arg(&package).arg(directory))?;
    // Its libraries may be missing.
    capture(command(directory.join("usr/sbin/nginx")).arg("-v"))?;
    Ok(())
}

fn package(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
