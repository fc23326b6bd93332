//! This node, by trying.

use std::path::{Path, PathBuf};

use super::check::{Check, Verdict};
use crate::{
    config::node::NodeConfig,
    node::find_kubepods,
    redirect::{self, Finding},
};

pub(super) fn checks(config: Option<&Path>) -> anyhow::Result<Vec<Check>> {
    let config = config.map(NodeConfig::load).transpose()?;
    let kubepods = kubepods(config.as_ref());
    let findings = redirect::probe(kubepods.as_deref());
    Ok(findings.into_iter().map(check).collect())
}

fn kubepods(config: Option<&NodeConfig>) -> Option<PathBuf> {
    let root = match config.and_then(|config| config.cgroup_root.clone()) {
        Some(root) => root,
        None => redirect::cgroup2_mount().ok()?.path().to_owned(),
    };
    match config.and_then(|config| config.kubepods.as_ref()) {
        Some(kubepods) => Some(root.join(kubepods)),
        None => find_kubepods(&root),
    }
}

fn check(finding: Finding) -> Check {
    Check {
        subject: finding.subject,
        verdict: match finding.verdict {
            redirect::Verdict::Good => Verdict::Ok,
            redirect::Verdict::Notice => Verdict::Notice,
            redirect::Verdict::Bad => Verdict::Failed,
        },
        saw: finding.saw,
    }
}
