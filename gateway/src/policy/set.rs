//! All policies in force: immutable, replaced as a whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    PolicyError, builtin,
    check::{self, Checked},
    index::Index,
    rule::Rule,
    source,
};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentPolicy, AgentPolicySpec, Mode, Subject},
        manifest::{self, Manifest, Place, Problem},
        selectors,
    },
    hex,
    identity::Identity,
    mask::{OwnDetector, SensitiveFields},
    request_info::RequestInfo,
};

/// Fields of which all policies together may have so many entries. Each detector costs a little of every text that is
/// looked at.
const DETECTORS: Limited = ("spec.detectors", "detectors", 256);
const SENSITIVE_FIELDS: Limited = ("spec.sensitiveFields", "entries of sensitiveFields", 256);

/// The field, what its entries are called, and the most.
type Limited = (&'static str, &'static str, usize);

#[derive(Debug)]
pub struct PolicySet {
    /// In order of id, so that the rule that a decision names does not depend on files.
    rules: Index,
    digest: Arc<str>,
    content: Arc<str>,
    detectors: Vec<OwnDetector>,
    sensitive_fields: Vec<SensitiveFields>,
    /// Whether a policy is in `mode: Audit`.
    has_audited: bool,
}

impl PolicySet {
    /// Reads every policy of `directory`. The error has everything that is wrong in all files.
    pub fn load(directory: &Path) -> Result<Self, PolicyError> {
        let manifests = source::read(directory)?;
        Self::compile(&manifests.valid, manifests.problems)
    }

    /// Without a policy: nothing is allowed but discovery.
    pub(super) fn empty() -> Self {
        Self::compile(&[], Vec::new()).expect("nothing is wrong with no policy")
    }

    /// Reads exactly these files. The error has everything that is wrong in them.
    pub fn read(files: &[PathBuf]) -> Result<Self, PolicyError> {
        let manifests = manifest::read_files::<AgentPolicy>(files);
        Self::compile(&manifests.valid, manifests.problems)
    }

    /// `sha256:<hex>` of the content of all policies, whatever their files and order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the digest is of: a line of JSON per policy, its name and its spec.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// What its policies look for in records.
    pub(super) fn detectors(&self) -> &[OwnDetector] {
        &self.detectors
    }

    /// What its policies hide by its place.
    pub(super) fn sensitive_fields(&self) -> &[SensitiveFields] {
        &self.sensitive_fields
    }

    pub(super) fn has_audited(&self) -> bool {
        self.has_audited
    }

    /// How many rules people wrote.
    pub fn len(&self) -> usize {
        self.rules().count() - builtin::discovery().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each rule that names an OIDC issuer, with the name.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules().flat_map(|rule| {
            let named = rule.subjects.iter().filter_map(Subject::oidc);
            let issuers = named.map(|oidc| oidc.issuer.as_str());
            issuers.map(|issuer| (&*rule.id, issuer))
        })
    }

    /// The rules that may match the call, or concern a part of it, in order of id, the built-in ones last.
    pub(super) fn candidates<'s>(
        &'s self,
        identity: &Identity,
        request: &RequestInfo,
    ) -> impl Iterator<Item = &'s Rule> {
        self.rules.candidates(identity, request)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.rules().iter()
    }

    pub(super) fn shared_digest(&self) -> &Arc<str> {
        &self.digest
    }

    pub(super) fn compile(
        manifests: &[Manifest<AgentPolicySpec>],
        mut problems: Vec<Problem>,
    ) -> Result<Self, PolicyError> {
        let Checked {
            mut rules,
            detectors,
            sensitive_fields,
        } = check_all(manifests, &mut problems);
        problems.extend(too_many(manifests, DETECTORS, detectors.len()));
        problems.extend(too_many(
            manifests,
            SENSITIVE_FIELDS,
            sensitive_fields.len(),
        ));
        if !problems.is_empty() {
            return Err(PolicyError::Invalid(problems));
        }
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        rules.extend(builtin::discovery());
        let content = content(manifests);
        Ok(Self {
            has_audited: manifests
                .iter()
                .any(|policy| policy.spec.mode == Mode::Audit),
            rules: Index::new(rules),
            detectors,
            sensitive_fields,
            digest: digest_of(&content).into(),
            content: content.into(),
        })
    }
}

/// What the policies without problems come to together.
fn check_all(manifests: &[Manifest<AgentPolicySpec>], problems: &mut Vec<Problem>) -> Checked {
    let mut all = Checked::default();
    let mut names: BTreeMap<&str, &Place> = BTreeMap::new();
    for policy in manifests {
        if let Some(taken) = taken(policy, names.insert(&policy.name, &policy.place)) {
            problems.push(problem(policy, "metadata.name", &taken));
        }
        if !selectors::is_subdomain(&policy.name) {
            let message = "must be a lower-case RFC 1123 subdomain";
            problems.push(problem(policy, "metadata.name", message));
        }
        match check::policy(&policy.name, &policy.spec) {
            Ok(checked) => {
                all.rules.extend(checked.rules);
                all.detectors.extend(checked.detectors);
                all.sensitive_fields.extend(checked.sensitive_fields);
            }
            Err(wrong) => {
                let wrong = wrong.iter();
                problems.extend(wrong.map(|wrong| problem(policy, &wrong.field, &wrong.message)));
            }
        }
    }
    all
}

fn too_many(
    manifests: &[Manifest<AgentPolicySpec>],
    (field, what, most): Limited,
    count: usize,
) -> Option<Problem> {
    let last = manifests.last().filter(|_| count > most)?;
    let message =
        format!("all policies together have {count} {what}, and may have {most}; leave some out");
    Some(problem(last, field, &message))
}

/// Why a policy cannot have its name.
fn taken(policy: &Manifest<AgentPolicySpec>, other: Option<&Place>) -> Option<String> {
    if policy.name == builtin::POLICY {
        return Some("this name is reserved".to_owned());
    }
    other.map(|other| format!("another policy has this name, in {other}; give each its own"))
}

fn problem(policy: &Manifest<AgentPolicySpec>, field: &str, message: &str) -> Problem {
    Problem {
        place: policy.place.clone(),
        line: policy.outline.line(field),
        object: Some(policy.name.clone()),
        message: format!("{field}: {message}"),
    }
}

/// One line of JSON per policy, in order of name, with its rules in order of name.
fn content(manifests: &[Manifest<AgentPolicySpec>]) -> String {
    let canonical = |policy: &Manifest<AgentPolicySpec>| {
        let mut spec = policy.spec.clone();
        spec.rules.sort_by(|a, b| a.name.cmp(&b.name));
        spec.detectors.sort_by(|a, b| a.name.cmp(&b.name));
        spec.sensitive_fields.sort();
        let line = serde_json::to_string(&(&policy.name, spec))
            .expect("plain data with text keys is JSON");
        (policy.name.clone(), line)
    };
    let mut lines: Vec<_> = manifests.iter().map(canonical).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn digest_of(content: &str) -> String {
    let digest = digest(&SHA256, content.as_bytes());
    format!("sha256:{}", hex::encode(digest.as_ref()))
}
