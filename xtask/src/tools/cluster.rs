//! The test control plane of `tests/cluster`: etcd, kube-apiserver and controllers in one binary.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cache, cache::digest, golang};
use crate::{command::capture, workspace};

const NAME: &str = "sallyport-test-cluster";

/// The built control plane, one per state of its sources.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    let sources = workspace::root().join("tests/cluster");
    let what = "the control plane (etcd, kube-apiserver, controllers), built from source: some 15 CPU minutes the first time";
    let built = cache.ensure("cluster", &digest(&sources)?, what, |directory| {
        let mut build = golang::go(cache)?;
        build
            // The key says which sources these are; asking git fails where the clone is someone else's.
            .args(["build", "-trimpath", "-buildvcs=false", "-o"])
            .arg(directory.join(NAME))
            .arg(".");
        capture(build.current_dir(&sources).env("CGO_ENABLED", "0"))?;
        Ok(())
    })?;
    Ok(built.join(NAME))
}
