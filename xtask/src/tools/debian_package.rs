//! Files out of Debian's packages, which are never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};

use crate::command::{capture, command, line};

/// Puts the files of `package` whose paths match one of `patterns` into `directory`, which is empty, without the
/// directories that they are in.
pub(super) fn take(package: &str, patterns: &[String], directory: &Path) -> Result<()> {
    let package = download(package, directory)?;
    unpack(&package, patterns, directory)?;
    Ok(fs::remove_file(package)?)
}

fn download(package: &str, directory: &Path) -> Result<PathBuf> {
    let mut download = command("apt-get");
    download.args(["download", "-q", package]);
    capture(download.current_dir(directory))
        .context("where apt's lists are old, this helps: sudo apt-get update")?;
    let mut files = fs::read_dir(directory)?;
    let package = files.next().context("apt-get download left no file")??;
    Ok(package.path())
}

fn unpack(package: &Path, patterns: &[String], directory: &Path) -> Result<()> {
    let mut contents = command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let mut tar = command("tar");
    tar.args(["-x", "--wildcards", "--transform", "s,.*/,,", "--directory"])
        .arg(directory)
        .args(patterns)
        .stdin(contents.stdout.take().expect("stdout is a pipe"));
    let unpacked = tar
        .status()
        .with_context(|| format!("cannot run `{}`", line(&tar)))?;
    // It has the other end of the pipe, on which dpkg-deb would wait.
    drop(tar);
    let read = contents.wait()?;
    ensure!(
        unpacked.success() && read.success(),
        "dpkg-deb ended with {read}, tar with {unpacked}"
    );
    Ok(())
}
