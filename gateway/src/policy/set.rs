//! All policies in force: immutable, replaced as a whole.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    Decision, Denial, Facts, Judgement, PolicyError, builtin, check, creation::Creation, floor,
    permit, rule::Rule, source,
};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentPolicySpec, Subject},
        manifest::{Manifest, Place, Problem},
    },
    identity::Attributes,
};

#[derive(Debug)]
pub struct PolicySet {
    /// In order of id, so that the rule that a decision names does not depend on files.
    rules: Vec<Rule>,
    digest: Arc<str>,
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

    /// `sha256:<hex>` of the content of all policies, whatever their files and order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many rules people wrote.
    pub fn len(&self) -> usize {
        self.rules.len() - builtin::discovery().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each rule that names an OIDC issuer, with the name.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().flat_map(|rule| {
            let issuers = rule.subjects.iter().filter_map(|subject| match subject {
                Subject::Oidc(oidc) => Some(oidc.issuer.as_str()),
                _ => None,
            });
            issuers.map(|issuer| (&*rule.id, issuer))
        })
    }

    /// Judges a call by what is known of it, or says what must be learned first. No answer allows more than one
    /// with more facts would.
    pub fn judge(&self, attributes: &Attributes<'_>, facts: &Facts) -> Judgement {
        Judgement::Decided(self.conclude(attributes, facts))
    }

    /// Judges a call of which nothing more will be known: what was not learned cannot be evaluated.
    pub fn conclude(&self, attributes: &Attributes<'_>, facts: &Facts) -> Decision {
        if let Err(denial) = floor::check(attributes) {
            return Decision::Deny(denial);
        }
        match self.decide(attributes, facts) {
            Decision::Allow(permit) => match self.check_creation(attributes, facts) {
                Ok(()) => Decision::Allow(permit),
                Err(denial) => Decision::Deny(denial),
            },
            other => other,
        }
    }

    /// Judges the request line alone.
    pub fn evaluate(&self, attributes: &Attributes<'_>) -> Decision {
        self.conclude(attributes, &Facts::default())
    }

    /// Judges a request that creates under another verb as the creation that it may be.
    fn check_creation(&self, attributes: &Attributes<'_>, facts: &Facts) -> Result<(), Denial> {
        for creation in Creation::all_of(attributes) {
            let created = Attributes {
                request: &creation.request,
                applies: false,
                ..*attributes
            };
            if let Decision::Deny(denial) = self.decide(&created, facts)
                && (creation.needs_allow || !denial.is_default())
            {
                return Err(denial.of_creation(attributes));
            }
        }
        Ok(())
    }

    fn decide(&self, attributes: &Attributes<'_>, facts: &Facts) -> Decision {
        permit::decide(
            self.rules.iter().filter(|rule| rule.matches(attributes)),
            attributes,
            facts,
            &self.digest,
        )
    }

    pub(super) fn compile(
        manifests: &[Manifest<AgentPolicySpec>],
        mut problems: Vec<Problem>,
    ) -> Result<Self, PolicyError> {
        let mut rules = Vec::new();
        let mut names: BTreeMap<&str, &Place> = BTreeMap::new();
        for policy in manifests {
            if let Some(taken) = taken(policy, names.insert(&policy.name, &policy.place)) {
                problems.push(problem(policy, "metadata.name", &taken));
            }
            if !check::is_subdomain(&policy.name) {
                problems.push(problem(
                    policy,
                    "metadata.name",
                    "must be a lower-case RFC 1123 subdomain",
                ));
            }
            match check::rules(&policy.name, &policy.spec) {
                Ok(checked) => rules.extend(checked),
                Err(wrong) => problems.extend(
                    wrong
                        .iter()
                        .map(|wrong| problem(policy, &wrong.field, &wrong.message)),
                ),
            }
        }
        if !problems.is_empty() {
            return Err(PolicyError::Invalid(problems));
        }
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        rules.extend(builtin::discovery());
        Ok(Self {
            rules,
            digest: content_digest(manifests).into(),
        })
    }
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
fn content_digest(manifests: &[Manifest<AgentPolicySpec>]) -> String {
    let canonical = |policy: &Manifest<AgentPolicySpec>| {
        let mut spec = policy.spec.clone();
        spec.rules.sort_by(|a, b| a.name.cmp(&b.name));
        let line = serde_json::to_string(&(&policy.name, spec))
            .expect("plain data with text keys is JSON");
        (policy.name.clone(), line)
    };
    let mut lines: Vec<_> = manifests.iter().map(canonical).collect();
    lines.sort();
    let content: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
    let hex = digest(&SHA256, content.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("sha256:{hex}")
}
