//! libfaketime, which gives one process of a test another clock. Out of Debian's package, never installed.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, debian_package};
use crate::command::probe;

const TOOL: &str = "libfaketime";
const LIBRARY: &str = "libfaketime.so.1";

/// Nothing where there are no packages of Debian: what wants another clock is then told that there is none.
pub(crate) fn library(cache: &Cache) -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux") || probe("apt-get", &["--version"]).is_none() {
        return Ok(None);
    }
    let what = "libfaketime of Debian, some 50 kB to download";
    let directory = cache.ensure(TOOL, "1", what, |directory| {
        debian_package::take(TOOL, &[format!("./*/{LIBRARY}")], directory)
    })?;
    Ok(Some(directory.join(LIBRARY)))
}
