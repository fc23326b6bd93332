//! Cases for `sallyport policy test` that pass on the suggestion: what it allows, and what is beside it.

use super::{
    Suggestion,
    draft::{Draft, Names, Objects, Target},
    need::Kind,
    text::{comment, scalar},
};
use crate::{
    api::v1alpha1::{agent_policy::Effect, matching::ANY},
    identity::{
        AgentIdentity, Attributes, Identity, Provenance, ProvenanceSource, Source, UserInfo,
    },
    policy::{Fact, Facts, hindsight::Answer},
    request_info::RequestInfo,
};

/// A name that stands for one that is not in a rule.
const OTHER: &str = "something-else";

/// One call, written as its parts.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    verb: String,
    api_group: String,
    resource: String,
    namespace: String,
    object_name: String,
    /// By which rule it passes, and how; denied where there is none.
    rule: Option<(Effect, String)>,
}

/// A file of cases for the policy in `file`, beside it. `None` where it would hold none.
pub fn cases(suggestion: &Suggestion, file: &str) -> Option<String> {
    let cases = suggestion.cases();
    if cases.is_empty() {
        return None;
    }
    let mut lines = vec![
        comment(&format!(
            "What {file} allows, and some of what it does not. Run: sallyport policy test"
        )),
        format!("policies: [{}]", scalar(file)),
        "cases:".to_owned(),
    ];
    for case in cases {
        lines.extend(case.yaml(&suggestion.agent));
    }
    Some(lines.join("\n") + "\n")
}

impl Suggestion {
    /// Only what the policy decides so.
    fn cases(&self) -> Vec<Case> {
        let objects = |draft: &Draft| match &draft.target {
            Target::Objects(objects) => Some((draft.clone(), objects.clone())),
            Target::Paths(_) => None,
        };
        let drafts: Vec<_> = self.drafts.iter().filter_map(objects).collect();
        let allowed = drafts.iter().flat_map(|(draft, objects)| {
            let verbs = draft.verbs.iter();
            verbs.map(|verb| self.allowed(draft, objects, verb))
        });
        let beside = drafts
            .iter()
            .flat_map(|(draft, objects)| beside(draft, objects));
        let mut cases: Vec<Case> = Vec::new();
        for case in allowed.chain(beside) {
            if self.is_so(&case) && cases.iter().all(|known| known.name != case.name) {
                cases.push(case);
            }
        }
        cases
    }

    fn allowed(&self, draft: &Draft, objects: &Objects, verb: &str) -> Case {
        let resource = first(&objects.resources);
        let namespace = match first(&objects.namespaces) {
            ANY => "",
            namespace => namespace,
        };
        let name = match &objects.names {
            _ if matches!(verb, "list" | "watch" | "deletecollection") => "",
            Names::These(names) => first(names),
            Names::All if verb == "create" && objects.kind == Kind::Write => "",
            Names::All | Names::Many => OTHER,
        };
        let may = match draft.effect() {
            Effect::RequireApproval => "people decide whether it may",
            _ => "it may",
        };
        Case {
            name: format!("{may} {verb} {resource}{}", place(namespace)),
            verb: verb.to_owned(),
            api_group: objects.api_group.clone(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            object_name: name.to_owned(),
            rule: Some((draft.effect(), format!("{}/{}", self.name, draft.name))),
        }
    }

    fn is_so(&self, case: &Case) -> bool {
        let identity = case_identity(&self.agent);
        let request = case.request();
        let attributes = Attributes::new(&identity, &request);
        let verdict = self.verdict(&attributes, &case.facts());
        match &case.rule {
            Some((effect, rule)) => verdict.answer == answer(*effect) && verdict.rule == *rule,
            None => verdict.answer == Answer::Deny,
        }
    }
}

/// Another namespace, another name, and the verb that does most harm.
fn beside(draft: &Draft, objects: &Objects) -> Vec<Case> {
    let resource = first(&objects.resources);
    let verb = first(&draft.verbs);
    let namespace = first(&objects.namespaces);
    let known_name = match &objects.names {
        Names::These(names) => first(names),
        Names::All | Names::Many => OTHER,
    };
    let case = |name: String, verb: &str, namespace: &str, object_name: &str| Case {
        name,
        verb: verb.to_owned(),
        api_group: objects.api_group.clone(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        object_name: object_name.to_owned(),
        rule: None,
    };
    let mut cases = Vec::new();
    if !matches!(namespace, "" | ANY) {
        cases.push(case(
            format!("it may not {verb} {resource} in another namespace"),
            verb,
            OTHER,
            if resource == "namespaces" {
                OTHER
            } else {
                known_name
            },
        ));
    }
    if matches!(objects.names, Names::These(_)) && resource != "namespaces" {
        cases.push(case(
            format!(
                "it may not {verb} {resource} of another name{}",
                place(namespace)
            ),
            verb,
            namespace,
            OTHER,
        ));
    }
    if namespace != ANY {
        cases.push(case(
            format!("it may not delete {resource}{}", place(namespace)),
            "delete",
            namespace,
            known_name,
        ));
    }
    cases
}

impl Case {
    fn yaml(&self, agent: &str) -> Vec<String> {
        let mut lines = vec![
            format!("- name: {}", scalar(&self.name)),
            format!("  as: {{agent: {{name: {}}}}}", scalar(agent)),
            format!("  verb: {}", scalar(&self.verb)),
        ];
        let parts = [
            ("apiGroup", &self.api_group),
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("objectName", &self.object_name),
        ];
        let given = parts.into_iter().filter(|(_, text)| !text.is_empty());
        lines.extend(given.map(|(field, text)| format!("  {field}: {}", scalar(text))));
        if self.writes() {
            lines.push("  object: {}".to_owned());
        }
        if self.changes() {
            lines.push("  oldObject: {}".to_owned());
        }
        match &self.rule {
            Some((effect, rule)) => lines.extend([
                format!("  expect: {effect:?}"),
                format!("  rule: {}", scalar(rule)),
            ]),
            None => lines.push("  expect: Deny".to_owned()),
        }
        lines
    }

    fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch")
    }

    fn changes(&self) -> bool {
        matches!(self.verb.as_str(), "update" | "patch" | "delete")
    }

    /// As the case says: an object in which nothing matters.
    fn facts(&self) -> Facts {
        let empty = || Fact::Known(serde_json::json!({}));
        Facts {
            object: if self.writes() {
                empty()
            } else {
                Fact::NotLearned
            },
            old_object: if self.changes() {
                empty()
            } else {
                Fact::Absent
            },
        }
    }

    fn request(&self) -> RequestInfo {
        let (resource, subresource) = self
            .resource
            .split_once('/')
            .unwrap_or((&self.resource, ""));
        RequestInfo {
            is_resource_request: true,
            verb: self.verb.clone(),
            api_group: self.api_group.clone(),
            api_version: "v1".to_owned(),
            namespace: self.namespace.clone(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: self.object_name.clone(),
            ..RequestInfo::default()
        }
    }
}

pub(super) fn case_identity(agent: &str) -> Identity {
    Identity {
        provenance: Provenance {
            agent: Some(AgentIdentity {
                name: agent.to_owned(),
                ..AgentIdentity::default()
            }),
            source: ProvenanceSource {
                agent: Some(Source::OperatorDeclared),
                ..ProvenanceSource::default()
            },
            ..Provenance::default()
        },
        ..Identity::of(UserInfo::default())
    }
}

fn answer(effect: Effect) -> Answer {
    match effect {
        Effect::Allow => Answer::Allow,
        Effect::RequireApproval => Answer::Hold,
        Effect::Deny => Answer::Deny,
    }
}

fn place(namespace: &str) -> String {
    match namespace {
        "" | ANY => String::new(),
        namespace => format!(" in {namespace}"),
    }
}

fn first(texts: &std::collections::BTreeSet<String>) -> &str {
    texts.first().map_or("", String::as_str)
}
