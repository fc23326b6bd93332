//! Definitions of objects that people vote on, with what no field says by itself.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::Value;

/// In CEL, and what a refusal says.
pub(super) type Rule = (&'static str, &'static str);

pub(super) const SPEC: Rule = ("self.spec == oldSelf.spec", "spec never changes");
pub(super) const VOTES: Rule = (
    "oldSelf.status.votes.all(vote, vote in self.status.votes) && \
     self.status.votes.size() >= oldSelf.status.votes.size()",
    "a vote is final",
);

/// That of `K`. `rules` are at the root of the object: a rule below `status` does not run where the whole status is taken
/// away. `status` is there from the beginning, so that a vote is appended to a list and by one command.
pub(super) fn definition<K: CustomResourceExt>(
    rules: &[Rule],
    status: &Value,
) -> CustomResourceDefinition {
    let mut crd = K::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            complete(root, rules, status);
        }
    }
    crd
}

fn complete(root: &mut JSONSchemaProps, rules: &[Rule], begins: &Value) {
    let rule = |(rule, message): &Rule| ValidationRule {
        rule: (*rule).to_owned(),
        message: Some((*message).to_owned()),
        ..ValidationRule::default()
    };
    root.x_kubernetes_validations = Some(rules.iter().map(rule).collect());
    let properties = root.properties.iter_mut().flatten();
    for (_, status) in properties.filter(|(name, _)| *name == "status") {
        status.default = Some(JSON(begins.clone()));
        status.nullable = None;
    }
}
