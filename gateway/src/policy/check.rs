//! From what is written to what is evaluated: a rule that could not do what its author means is refused.

use std::sync::Arc;

use super::{
    expression::Expression,
    obligations::Obligations,
    rule::{Rule, Target},
    terms::Terms,
};
use crate::{
    api::v1alpha1::{
        agent_policy::{self, AgentPolicySpec, MAX_ITEMS, Mode, Subject, WorkloadSubject},
        matching::{ANY, OidcMatch, ServiceAccountMatch},
        selectors::{self, check_group, check_name, check_namespace, check_resource, is_label},
    },
    mask::{OwnDetector, SensitiveFields},
    request_info::RESOURCE_VERBS,
};

mod consequences;
mod detectors;
mod sensitive_fields;

/// One wrong field.
#[derive(Debug)]
pub(super) struct Wrong {
    /// As in `spec.rules[2].verbs`.
    pub(super) field: String,
    pub(super) message: String,
}

const PATH_VERBS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// What a policy comes to.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) rules: Vec<Rule>,
    pub(super) detectors: Vec<OwnDetector>,
    pub(super) sensitive_fields: Vec<SensitiveFields>,
}

pub(super) fn policy(policy: &str, spec: &AgentPolicySpec) -> Result<Checked, Vec<Wrong>> {
    let mut wrong = Vec::new();
    check_count("spec.subjects", spec.subjects.len(), &mut wrong);
    check_count("spec.rules", spec.rules.len(), &mut wrong);
    for (index, subject) in spec.subjects.iter().enumerate() {
        check_subject(&format!("spec.subjects[{index}]"), subject, &mut wrong);
    }
    let subjects: Arc<[Subject]> = spec.subjects.clone().into();
    let mut rules = Vec::new();
    for (index, rule) in spec.rules.iter().enumerate() {
        let mut fields = Fields {
            prefix: format!("spec.rules[{index}]"),
            rule: &rule.name,
            wrong: &mut wrong,
        };
        check_rule_name(&rule.name, &spec.rules[..index], &mut fields);
        let parts = Parts {
            target: target(rule, &mut fields),
            consequences: consequences::of(rule, &mut fields),
            when: fields.expression("when", rule.when.as_deref()),
            unless: fields.expression("unless", rule.unless.as_deref()),
        };
        let id = format!("{policy}/{}", rule.name);
        rules.extend(parts.compiled(id, rule, spec.mode, &subjects));
    }
    let detectors = detectors::of(spec, &mut wrong);
    let sensitive_fields = sensitive_fields::of(spec, &mut wrong);
    if wrong.is_empty() {
        Ok(Checked {
            rules,
            detectors,
            sensitive_fields,
        })
    } else {
        Err(wrong)
    }
}

fn check_rule_name(name: &str, earlier: &[agent_policy::Rule], fields: &mut Fields<'_>) {
    let is_twin = earlier.iter().any(|rule| rule.name == name);
    fields.require(
        "name",
        is_label(name),
        "must be 1 to 63 of a-z, 0-9 and '-'",
    );
    fields.require(
        "name",
        !is_twin,
        "another rule of this policy has the same name",
    );
}

/// What becomes of the fields of one rule, each `None` where something is wrong with it.
struct Parts {
    target: Option<Target>,
    consequences: Option<(Obligations, Option<Terms>)>,
    when: Option<Option<Expression>>,
    unless: Option<Option<Expression>>,
}

impl Parts {
    fn compiled(
        self,
        id: String,
        rule: &agent_policy::Rule,
        mode: Mode,
        subjects: &Arc<[Subject]>,
    ) -> Option<Rule> {
        let (obligations, terms) = self.consequences?;
        Some(Rule {
            id: id.into(),
            effect: rule.effect,
            is_audited: mode == Mode::Audit,
            subjects: Arc::clone(subjects),
            verbs: rule.verbs.clone(),
            target: self.target?,
            when: self.when?,
            unless: self.unless?,
            reason: rule.reason.clone(),
            obligations,
            terms,
        })
    }
}

fn check_count(field: &str, count: usize, wrong: &mut Vec<Wrong>) {
    if !(1..=MAX_ITEMS).contains(&count) {
        wrong.push(Wrong {
            field: field.into(),
            message: format!("must have 1 to {MAX_ITEMS} entries, has {count}"),
        });
    }
}

fn check_subject(field: &str, subject: &Subject, wrong: &mut Vec<Wrong>) {
    let texts: Vec<&str> = match subject {
        Subject::ServiceAccount(ServiceAccountMatch { namespace, name }) => vec![namespace, name],
        Subject::Oidc(oidc) => oidc_texts(&format!("{field}.oidc"), oidc, wrong),
        Subject::Agent(agent) => vec![&agent.name],
        Subject::Workload(workload) => {
            return check_workload(&format!("{field}.workload"), workload, wrong);
        }
        Subject::All(_) => Vec::new(),
    };
    if texts.iter().any(|text| text.is_empty()) {
        wrong.push(Wrong {
            field: field.into(),
            message: "no value may be empty; \"*\" matches everything".into(),
        });
    }
}

fn oidc_texts<'s>(field: &str, oidc: &'s OidcMatch, wrong: &mut Vec<Wrong>) -> Vec<&'s str> {
    if oidc.claims.is_empty() {
        let message = "must name at least one claim: a public issuer signs for everyone".into();
        wrong.push(Wrong {
            field: format!("{field}.claims"),
            message,
        });
    }
    oidc.claims
        .iter()
        .flat_map(|(claim, value)| [claim.as_str(), value])
        .chain([oidc.issuer.as_str()])
        .collect()
}

/// A pod and a user, each as if it were a subject of its own.
fn check_workload(field: &str, workload: &WorkloadSubject, wrong: &mut Vec<Wrong>) {
    let user = match (&workload.oidc, &workload.agent) {
        (Some(oidc), None) => Subject::Oidc(oidc.clone()),
        (None, Some(agent)) => Subject::Agent(agent.clone()),
        _ => {
            return wrong.push(Wrong {
                field: field.into(),
                message: "must name its user by either oidc or agent".into(),
            });
        }
    };
    let account = Subject::ServiceAccount(workload.service_account.clone());
    for subject in [account, user] {
        check_subject(field, &subject, wrong);
    }
}

fn target(rule: &agent_policy::Rule, fields: &mut Fields<'_>) -> Option<Target> {
    let selectors = [
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("namespaces", &rule.namespaces),
        ("names", &rule.names),
    ];
    let Some(paths) = &rule.non_resource_urls else {
        fields.check_list("verbs", Some(&rule.verbs), |verb| {
            check_verb(verb, &RESOURCE_VERBS)
        });
        return objects(selectors.map(|(_, list)| list.as_ref()), fields);
    };
    for (field, list) in selectors {
        fields.require(
            field,
            list.is_none(),
            "does not go together with nonResourceURLs; make it a rule of its own",
        );
    }
    fields.check_list("verbs", Some(&rule.verbs), |verb| {
        check_verb(verb, &PATH_VERBS)
    });
    fields
        .check_list("nonResourceURLs", Some(paths), check_path)
        .map(Target::Paths)
}

fn objects(
    [groups, resources, namespaces, names]: [Option<&Vec<String>>; 4],
    fields: &mut Fields<'_>,
) -> Option<Target> {
    let api_groups = fields.check_list("apiGroups", groups, check_group);
    let resources = fields.check_list("resources", resources, check_resource);
    let namespaces = fields.check_list("namespaces", namespaces, check_namespace);
    let names = fields.check_list("names", names, check_name);
    Some(Target::Objects {
        api_groups: api_groups?,
        resources: resources?,
        namespaces: namespaces?,
        names: names?,
    })
}

/// Collects what is wrong in one rule.
struct Fields<'a> {
    prefix: String,
    rule: &'a str,
    wrong: &'a mut Vec<Wrong>,
}

impl Fields<'_> {
    fn require(&mut self, field: &str, holds: bool, message: &str) {
        if !holds {
            let message = format!("rule {:?}: {message}", self.rule);
            self.wrong.push(Wrong {
                field: format!("{}.{field}", self.prefix),
                message,
            });
        }
    }

    /// `Some(None)` where none is written, `None` where what is written is wrong.
    fn expression(&mut self, field: &str, text: Option<&str>) -> Option<Option<Expression>> {
        let Some(text) = text else {
            return Some(None);
        };
        match Expression::compile(text) {
            Ok(expression) => Some(Some(expression)),
            Err(message) => {
                self.require(field, false, &format!("the expression {message}"));
                None
            }
        }
    }

    /// Checks a required list and each entry; `check` gives what is wrong with an entry.
    fn check_list(
        &mut self,
        field: &str,
        list: Option<&Vec<String>>,
        check: impl Fn(&str) -> Option<String>,
    ) -> Option<Vec<String>> {
        let written = list.map_or(&[][..], Vec::as_slice);
        for wrong in selectors::check_list(written, check) {
            self.require(&format!("{field}{}", wrong.place), false, &wrong.message);
        }
        list.filter(|list| !list.is_empty()).cloned()
    }
}

fn check_verb(verb: &str, known: &[&str]) -> Option<String> {
    (!known.contains(&verb))
        .then(|| format!("is not a verb here; use {} or \"*\"", known.join(", ")))
}

fn check_path(path: &str) -> Option<String> {
    let beginning = path.strip_suffix(ANY).unwrap_or(path);
    let valid = path.starts_with('/') && !beginning.contains('*');
    (!valid).then(|| "must start with '/' and may have '*' only at its end".into())
}
