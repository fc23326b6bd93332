//! This node, by trying.

use std::path::Path;

use super::check::{Check, Verdict};
use crate::{
    config::node::NodeConfig,
    node::kubepods,
    redirect::{self, Finding},
};

pub(super) fn checks(config: Option<&Path>) -> anyhow::Result<Vec<Check>> {
    let config = config.map(NodeConfig::load).transpose()?;
    // Where there is no cgroup2, it has a finding of its own.
    let kubepods = kubepods(config.as_ref()).ok().flatten();
    let findings = redirect::probe(kubepods.as_deref());
    Ok(findings.into_iter().map(check).collect())
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
