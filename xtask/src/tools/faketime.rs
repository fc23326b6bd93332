//! libfaketime, which gives one process of a test another clock. Out of Debian's package, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};

use super::Cache;
use crate::command::{capture, command, probe};

const TOOL: &str = "libfaketime";
const LIBRARY: &str = "libfaketime.so.1";

/// Nothing where there are no packages of Debian: what wants another clock is then told that there is none.
pub(crate) fn library(cache: &Cache) -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux") || probe("apt-get", &["--version"]).is_none() {
        return Ok(None);
    }
    let what = "libfaketime of Debian, some 50 kB to download";
    let directory = cache.ensure(TOOL, "1", what, |directory| {
        let mut download = command("apt-get");
        download.args(["download", "-q", TOOL]);
        capture(download.current_dir(directory))
            .context("where apt's lists are old, this helps: sudo apt-get update")?;
        unpack(directory)
    })?;
    Ok(Some(directory.join(LIBRARY)))
}

/// Takes the library out of the one package that is there.
fn unpack(directory: &Path) -> Result<()> {
    let mut files = fs::read_dir(directory)?;
    let package = files.next().context("apt-get download left no file")??;
    let mut contents = command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package.path())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let mut tar = command("tar");
    tar.args(["-x", "--wildcards", "--transform", "s,.*/,,", "--directory"])
        .arg(directory)
        .arg(format!("./*/{LIBRARY}"))
        .stdin(contents.stdout.take().expect("stdout is a pipe"));
    let unpacked = tar.status().context("cannot run tar")?;
    // It has the other end of the pipe, on which dpkg-deb would wait.
    drop(tar);
    let read = contents.wait()?;
    ensure!(
        unpacked.success() && read.success(),
        "dpkg-deb ended with {read}, tar with {unpacked}"
    );
    Ok(fs::remove_file(package.path())?)
}
