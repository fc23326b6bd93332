//! The definition, with what no field says by itself.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::BreakGlass;

/// At the root of the object: a rule below `status` does not run where the whole status is taken away.
const FINAL: [(&str, &str); 3] = [
    ("self.spec == oldSelf.spec", "spec never changes"),
    (
        "oldSelf.status.votes.all(vote, vote in self.status.votes) && \
         self.status.votes.size() >= oldSelf.status.votes.size()",
        "a vote is final",
    ),
    (
        "!has(oldSelf.status.closed) || \
         (has(self.status.closed) && self.status.closed == oldSelf.status.closed)",
        "a closing is final",
    ),
];

/// The CustomResourceDefinition.
pub fn definition() -> CustomResourceDefinition {
    let mut crd = BreakGlass::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            complete(root);
        }
    }
    crd
}

fn complete(root: &mut JSONSchemaProps) {
    let rule = |(rule, message): (&str, &str)| ValidationRule {
        rule: rule.to_owned(),
        message: Some(message.to_owned()),
        ..ValidationRule::default()
    };
    root.x_kubernetes_validations = Some(FINAL.map(rule).into());
    let properties = root.properties.iter_mut().flatten();
    for (_, status) in properties.filter(|(name, _)| *name == "status") {
        // There from the beginning, so that a vote is appended to a list and by one command.
        status.default = Some(JSON(json!({"votes": []})));
        status.nullable = None;
    }
}
