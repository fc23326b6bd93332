//! Why each rule matches a call, or does not.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Facts, PolicySet,
    expression::{Expression, Outcome, Scope},
    rule::{Matching, Rule, Selector, Target},
};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentView, Effect, Subject, WorkloadSubject},
        matching::OidcMatch,
    },
    identity::Attributes,
    request_info::RequestInfo,
};

/// One rule and one call.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleExplanation {
    /// `<policy>/<rule>`.
    pub rule: Arc<str>,
    pub effect: Effect,
    /// The policy is in `mode: Audit`: the rule does not count.
    pub audited: bool,
    pub matches: bool,
    /// The agent sees the answer only masked, as the rule matches or may concern a part of the call.
    pub masks: bool,
    /// The first selector that does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Mismatch>,
    /// Empty where a selector does not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Mismatch {
    /// As it is called in the policy.
    pub field: &'static str,
    /// What the rule has there.
    pub rule: String,
    /// What the call has there.
    pub call: String,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Condition {
    /// `when` or `unless`.
    pub field: &'static str,
    pub expression: String,
    /// `true`, `false`, or why it could not be evaluated.
    pub result: String,
}

impl PolicySet {
    /// Every rule that people wrote, in order of id.
    pub fn explain(&self, attributes: &Attributes<'_>, facts: &Facts) -> Vec<RuleExplanation> {
        let scope = Scope::new(attributes, facts);
        let written = self.rules().take(self.len());
        written.map(|rule| explain(rule, &scope)).collect()
    }
}

fn explain(rule: &Rule, scope: &Scope<'_>) -> RuleExplanation {
    let attributes = scope.attributes();
    let caller = attributes.identity;
    let counts = rule.effect != Effect::Allow || rule.may_allow(caller);
    let mismatch = if rule.is_for(caller) && counts {
        rule.mismatch(attributes.request)
    } else {
        Some(Selector::Subjects)
    };
    let mismatch = mismatch.map(|selector| describe(rule, selector, attributes));
    let conditions = [("when", &rule.when), ("unless", &rule.unless)];
    let conditions = conditions
        .into_iter()
        .filter(|_| mismatch.is_none())
        .filter_map(|(field, expression)| Some(condition(field, expression.as_ref()?, scope)));
    RuleExplanation {
        rule: Arc::clone(&rule.id),
        effect: rule.effect,
        audited: rule.is_audited,
        matches: mismatch.is_none() && matches(rule, scope),
        masks: rule.is_for(caller) && counts && masks(rule, scope),
        conditions: conditions.collect(),
        mismatch,
    }
}

fn matches(rule: &Rule, scope: &Scope<'_>) -> bool {
    let matching = match rule.matching(scope) {
        Matching::Unknown(_) => rule.failed(String::new()),
        matching => matching,
    };
    matches!(matching, Matching::Yes { .. })
}

fn masks(rule: &Rule, scope: &Scope<'_>) -> bool {
    rule.obligations.agent_view == AgentView::Masked
        && !rule.is_audited
        && (matches(rule, scope) || rule.may_restrict(scope))
}

fn condition(field: &'static str, expression: &Expression, scope: &Scope<'_>) -> Condition {
    let result = match expression.evaluate(scope) {
        Outcome::Is(value) => value.to_string(),
        Outcome::Unknown(_) => {
            "could not be evaluated: it reads an object that is not known".to_owned()
        }
        Outcome::Failed(problem) => format!("could not be evaluated: {problem}"),
    };
    Condition {
        field,
        expression: expression.text().to_owned(),
        result,
    }
}

fn describe(rule: &Rule, selector: Selector, attributes: &Attributes<'_>) -> Mismatch {
    let request = attributes.request;
    let (field, has, call) = match (selector, &rule.target) {
        (Selector::Subjects, _) => ("subjects", subjects(&rule.subjects), caller(attributes)),
        (Selector::Verbs, _) => ("verbs", list(&rule.verbs), verb(request)),
        (Selector::ApiGroups, Target::Objects { api_groups, .. }) => {
            ("apiGroups", list(api_groups), quoted(&request.api_group))
        }
        (Selector::Resources, Target::Objects { resources, .. }) => {
            ("resources", list(resources), resource(request))
        }
        (Selector::Namespaces, Target::Objects { namespaces, .. }) => {
            ("namespaces", list(namespaces), namespace(request))
        }
        (Selector::Names, Target::Objects { names, .. }) => {
            let name = &request.name;
            let call = if name.is_empty() {
                "no name: all of them".to_owned()
            } else {
                name.clone()
            };
            ("names", list(names), call)
        }
        (_, Target::Paths(paths)) => ("nonResourceURLs", list(paths), request.path.clone()),
        (_, Target::Objects { resources, .. }) => {
            ("resources", list(resources), request.path.clone())
        }
    };
    Mismatch {
        field,
        rule: has,
        call,
    }
}

fn verb(request: &RequestInfo) -> String {
    match request.verb.as_str() {
        "get" if request.is_stream() => {
            let resource = resource(request);
            format!(
                "get ({resource} is judged as create; get counts only where resources names {resource})"
            )
        }
        verb => verb.to_owned(),
    }
}

fn resource(request: &RequestInfo) -> String {
    if !request.is_resource_request {
        return format!("the path {}", request.path);
    }
    match request.subresource.as_str() {
        "" => request.resource.clone(),
        subresource => format!("{}/{subresource}", request.resource),
    }
}

fn namespace(request: &RequestInfo) -> String {
    use super::reach::Reach;
    match Reach::of(request) {
        Reach::Namespace(namespace) => namespace.to_owned(),
        Reach::Cluster => quoted(""),
        Reach::AllNamespaces => "all of them".to_owned(),
    }
}

fn caller(attributes: &Attributes<'_>) -> String {
    let user = &attributes.identity.user.username;
    let agent = attributes.identity.pod_agent.as_ref();
    let agent = agent.map_or_else(String::new, |agent| format!(", agent {agent}"));
    match attributes.identity.pod_of_user() {
        Some(pod) => format!(
            "{user} in a pod of ServiceAccount {}/{}{agent}",
            pod.namespace, pod.service_account
        ),
        None => user.clone(),
    }
}

fn subjects(subjects: &[Subject]) -> String {
    let named = subjects.iter().map(|subject| match subject {
        Subject::ServiceAccount(account) => {
            format!("ServiceAccount {}/{}", account.namespace, account.name)
        }
        Subject::Oidc(oidc) => claims(oidc),
        Subject::Agent(agent) => format!("agent {}", agent.name),
        Subject::Workload(workload) => in_pod(workload),
        Subject::All(_) => "all".to_owned(),
    });
    named.collect::<Vec<_>>().join(", ")
}

fn claims(oidc: &OidcMatch) -> String {
    let claims = oidc
        .claims
        .iter()
        .map(|(claim, value)| format!("{claim}={value}"));
    format!("{} {}", oidc.issuer, claims.collect::<Vec<_>>().join(" "))
}

fn in_pod(workload: &WorkloadSubject) -> String {
    let account = &workload.service_account;
    let agent = workload.agent.as_ref();
    let agent = agent.map(|agent| format!("agent {}", agent.name));
    let user = workload.oidc.as_ref().map(claims).or(agent);
    format!(
        "{} in a pod of ServiceAccount {}/{}",
        user.unwrap_or_default(),
        account.namespace,
        account.name
    )
}

fn list(entries: &[String]) -> String {
    let entries = entries.iter().map(|entry| match entry.as_str() {
        "" => quoted(""),
        entry => entry.to_owned(),
    });
    entries.collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests;
