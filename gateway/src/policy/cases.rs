//! What policies are meant to decide, written down as cases beside them.
//!
//! ```yaml
//! policies: [read-only.yaml]      # beside this file; all policies of its directory where absent
//! cases:
//! - name: secrets stay closed
//!   as: {serviceAccount: {namespace: agents, name: reader}}
//!   verb: get
//!   resource: secrets
//!   namespace: shop
//!   objectName: db
//!   expect: Deny
//!   rule: read-only/no-secrets
//! ```
//!
//! A call is written as its parts or as `method` and `url`. `object` and `oldObject` are what the gateway would learn;
//! where `object` is given and `oldObject` is not, there was none before. Without both, nothing is learned, and what
//! needs the object is denied, as it is by the gateway.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::call::Unclear;
use super::{Decision, Fact, Facts, PolicySet};
use crate::{
    api::v1alpha1::{
        agent_policy::Effect,
        manifest::{Outline, Place, Problem, message},
    },
    identity::Attributes,
};

mod call;

/// What the name of a file with cases ends with.
pub const SUFFIX: &str = ".test.yaml";

/// A file with cases.
#[derive(Clone, Debug)]
pub struct CaseFile {
    pub file: PathBuf,
    /// The policies that it is about, beside it; all of its directory where there are none.
    pub policies: Vec<PathBuf>,
    pub cases: Vec<Case>,
}

/// One call and what is to become of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    pub name: String,
    /// In its file.
    #[serde(skip)]
    pub line: Option<u64>,
    #[serde(rename = "as")]
    pub caller: Caller,
    pub method: Option<String>,
    pub url: Option<String>,
    pub verb: Option<String>,
    pub api_group: String,
    /// With the subresource, as in `pods/exec`.
    pub resource: Option<String>,
    pub namespace: String,
    pub object_name: String,
    /// Of an exec.
    pub command: Vec<String>,
    /// A server-side apply.
    pub apply: bool,
    pub dry_run: bool,
    /// The call's namespace is an agents' namespace.
    pub in_agents_namespace: bool,
    pub object: Option<Value>,
    pub old_object: Option<Value>,
    pub expect: Option<Effect>,
    /// `<policy>/<rule>`, a built-in rule or `default`; any where absent.
    pub rule: Option<String>,
}

/// Who calls, and what somebody else than the caller says of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Caller {
    pub service_account: Option<ServiceAccount>,
    pub oidc: Option<Oidc>,
    pub agent: Option<Agent>,
    /// The agent that is declared for the ServiceAccount, where a user's token comes out of its pod.
    pub pod_agent: Option<String>,
    pub model: Option<Model>,
    pub ci: Option<Ci>,
    pub groups: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    pub issuer: String,
    pub claims: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    pub name: String,
    pub version: Option<String>,
    pub owner: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    pub provider: Option<String>,
    pub name: Option<String>,
    pub version: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ci {
    pub provider: String,
    pub repository: String,
    pub repository_id: String,
    pub run_id: String,
    pub workflow_ref: Option<String>,
    pub commit: Option<String>,
    pub actor: Option<String>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub case: String,
    pub line: Option<u64>,
    pub passed: bool,
    pub expected: Decided,
    pub actual: Decided,
    /// Why it is denied, or why the case says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Decided {
    pub effect: Option<Effect>,
    pub rule: Option<String>,
}

/// Reads a file with cases; the error is everything that is wrong in it.
pub fn read(file: &Path) -> Result<CaseFile, Problem> {
    let problem = |message: String| Problem {
        place: Place::File(file.to_owned()),
        line: None,
        object: None,
        message,
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| problem(format!("cannot read the file: {error}")))?;
    parse(file, &text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    policies: Vec<PathBuf>,
    cases: Vec<Case>,
}

fn parse(file: &Path, text: &str) -> Result<CaseFile, Problem> {
    let unreadable = |error: serde_saphyr::Error| Problem {
        place: Place::File(file.to_owned()),
        line: error.location().map(|location| location.line()),
        object: None,
        message: message(&error),
    };
    let document: Document = serde_saphyr::from_str(text).map_err(unreadable)?;
    let outline: Outline = serde_saphyr::from_str(text).map_err(unreadable)?;
    let beside = file.parent().unwrap_or_else(|| Path::new("."));
    let mut cases = document.cases;
    for (index, case) in cases.iter_mut().enumerate() {
        case.line = outline.line(&format!("cases[{index}]"));
    }
    Ok(CaseFile {
        file: file.to_owned(),
        policies: document
            .policies
            .iter()
            .map(|policy| beside.join(policy))
            .collect(),
        cases,
    })
}

/// Judges every case.
pub fn run(set: &PolicySet, cases: &[Case]) -> Vec<Outcome> {
    cases.iter().map(|case| outcome(set, case)).collect()
}

fn outcome(set: &PolicySet, case: &Case) -> Outcome {
    let expected = Decided {
        effect: case.expect,
        rule: case.rule.clone(),
    };
    let (actual, reason) = match decide(set, case) {
        Ok(decided) => decided,
        Err(unclear) => {
            let none = Decided {
                effect: None,
                rule: None,
            };
            (none, Some(unclear.to_string()))
        }
    };
    let same_rule = expected.rule.is_none() || expected.rule == actual.rule;
    Outcome {
        case: case.name.clone(),
        line: case.line,
        passed: expected.effect.is_some() && expected.effect == actual.effect && same_rule,
        expected,
        actual,
        reason,
    }
}

fn decide(set: &PolicySet, case: &Case) -> Result<(Decided, Option<String>), Unclear> {
    if case.expect.is_none() {
        return Err(Unclear::Expectation);
    }
    let (identity, request) = (case.caller.identity()?, case.request()?);
    let attributes = Attributes {
        applies: case.apply,
        dry_run: case.dry_run || request.is_dry_run(),
        namespace_is_agents: case.in_agents_namespace,
        ..Attributes::new(&identity, &request)
    };
    let (effect, rule, reason) = match set.conclude(&attributes, &case.facts()) {
        Decision::Allow(permit) => (Effect::Allow, permit.rule().to_owned(), None),
        Decision::Hold(pending) => (Effect::RequireApproval, pending.rule().to_owned(), None),
        Decision::Deny(denial) => (Effect::Deny, denial.rule, Some(denial.reason)),
    };
    let decided = Decided {
        effect: Some(effect),
        rule: Some(rule),
    };
    Ok((decided, reason))
}

impl Case {
    pub fn facts(&self) -> Facts {
        let known = |object: &Option<Value>| object.clone().map(Fact::Known);
        let before = if self.object.is_some() {
            Fact::Absent
        } else {
            Fact::NotLearned
        };
        Facts {
            object: known(&self.object).unwrap_or_default(),
            old_object: known(&self.old_object).unwrap_or(before),
        }
    }
}

/// As a diff, two lines.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- expected {}", self.expected)?;
        write!(f, "+ decided  {}", self.actual)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Some(effect) => write!(f, "{effect:?}")?,
            None => f.write_str("nothing")?,
        }
        match &self.rule {
            Some(rule) => write!(f, " by {rule}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
