//! The test control plane of `tests/cluster`: etcd, kube-apiserver, controllers and a node in
//! one binary.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{Cache, cache::digest, golang};
use crate::workspace;

const NAME: &str = "sallyport-test-cluster";

/// Modules, and where in them their examples are.
const EXAMPLES: [(&str, &str); 2] = [
    ("k8s.io/api", "testdata"),
    ("k8s.io/apiextensions-apiserver", "pkg/apis/testdata"),
];

/// The built control plane, one per state of its sources.
pub(crate) fn binary(cache: &Cache) -> Result<PathBuf> {
    let sources = workspace::root().join("tests/cluster");
    let what = "the control plane (etcd, kube-apiserver, controllers, node), built from source: some 15 CPU minutes the first time";
    let built = cache.ensure("cluster", &digest(&sources)?, what, |directory| {
        let go_mod = fs::read_to_string(sources.join("go.mod"))?;
        let flags = version(&go_mod)?.linker_flags();
        golang::build(cache, &sources, &flags, &directory.join(NAME))
    })?;
    Ok(built.join(NAME))
}

/// Directories of example objects in the control plane's sources, joined by `:`.
pub(crate) fn examples(cache: &Cache) -> Result<String> {
    let sources = workspace::root().join("tests/cluster");
    let directory = |(module, inside): (&str, &str)| {
        let module = golang::module(cache, &sources, module)?;
        Ok(module.dir.join(inside).display().to_string())
    };
    let directories: Result<Vec<_>> = EXAMPLES.map(directory).into_iter().collect();
    Ok(directories?.join(":"))
}

/// Kubernetes' own sources, in the version of the control plane.
pub(crate) fn sources(cache: &Cache) -> Result<PathBuf> {
    let sources = workspace::root().join("tests/cluster");
    Ok(golang::module(cache, &sources, "k8s.io/kubernetes")?.dir)
}

/// The Kubernetes version that go.mod names. Built as a module it would call itself `v0.0.0-master`,
/// which kubectl cannot parse.
struct Version<'a> {
    full: &'a str,
    major: &'a str,
    minor: &'a str,
}

fn version(go_mod: &str) -> Result<Version<'_>> {
    let parse = || {
        let line = go_mod.lines().map(str::trim);
        let full = line
            .filter_map(|line| line.strip_prefix("k8s.io/kubernetes "))
            .next()?;
        let (major, rest) = full.strip_prefix('v')?.split_once('.')?;
        let (minor, _) = rest.split_once('.')?;
        Some(Version { full, major, minor })
    };
    parse().context("tests/cluster/go.mod names no version of k8s.io/kubernetes")
}

impl Version<'_> {
    fn linker_flags(&self) -> String {
        let Self { full, major, minor } = self;
        [
            ("gitVersion", full),
            ("gitMajor", major),
            ("gitMinor", minor),
        ]
        .map(|(name, value)| format!("-X k8s.io/component-base/version.{name}={value}"))
        .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_the_one_that_go_mod_requires() {
        let go_mod =
            "module x\n\nrequire (\n\tk8s.io/api v0.37.2\n\tk8s.io/kubernetes v1.37.2\n)\n";
        let flags = version(go_mod).expect("a version").linker_flags();
        assert!(flags.contains("version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.ends_with("version.gitMinor=37"), "{flags}");
        assert!(version("module x\n").is_err());
    }
}
