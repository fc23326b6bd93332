//! The rule that lets every client find its way: discovery, version, OpenAPI and questions about oneself.

use std::sync::Arc;

use super::{
    obligations::Obligations,
    rule::{Rule, Target},
};
use crate::api::v1alpha1::{
    agent_policy::{Effect, Everyone, Subject},
    matching::ANY,
};

/// Policies cannot take this name.
pub(super) const POLICY: &str = "built-in";

/// Whether a rule of this id is one of these.
pub(super) fn is_built_in(rule: &str) -> bool {
    rule.split_once('/')
        .is_some_and(|(policy, _)| policy == POLICY)
}

/// Allowed unless a `Deny` matches. Below `/api` and `/apis` only discovery is no resource request.
pub(super) fn discovery() -> [Rule; 2] {
    let paths = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/openapi",
        "/openapi/*",
        "/version",
        "/version/",
    ];
    let self_reviews = Target::Objects {
        api_groups: strings(["authentication.k8s.io", "authorization.k8s.io"]),
        resources: strings([
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "selfsubjectreviews",
        ]),
        namespaces: strings([""]),
        names: strings([ANY]),
    };
    [
        rule("get", Target::Paths(strings(paths))),
        rule("create", self_reviews),
    ]
}

fn rule(verb: &str, target: Target) -> Rule {
    Rule {
        id: format!("{POLICY}/discovery").into(),
        effect: Effect::Allow,
        is_audited: false,
        subjects: Arc::new([Subject::All(Everyone::Any)]),
        verbs: strings([verb]),
        target,
        when: None,
        unless: None,
        reason: None,
        obligations: Obligations::default(),
        terms: None,
    }
}

fn strings<const N: usize>(items: [&str; N]) -> Vec<String> {
    items.map(str::to_owned).to_vec()
}
