//! The definition, with what no field says by itself.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::ApprovalRequest;

/// At the root of the object: a rule below `status` does not run where the whole status is taken away.
const FINAL: [(&str, &str); 4] = [
    ("self.spec == oldSelf.spec", "spec never changes"),
    (
        "oldSelf.status.votes.all(vote, vote in self.status.votes) && \
         self.status.votes.size() >= oldSelf.status.votes.size()",
        "a vote is final",
    ),
    (
        "oldSelf.status.uses.all(use, use in self.status.uses) && \
         self.status.uses.size() >= oldSelf.status.uses.size()",
        "a use is final",
    ),
    (
        "!has(oldSelf.status.withdrawnAt) || \
         (has(self.status.withdrawnAt) && self.status.withdrawnAt == oldSelf.status.withdrawnAt)",
        "a withdrawal is final",
    ),
];

/// The CustomResourceDefinition.
pub fn definition() -> CustomResourceDefinition {
    let mut crd = ApprovalRequest::crd();
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
        status.default = Some(JSON(json!({"state": "Pending", "votes": [], "uses": []})));
        status.nullable = None;
    }
}
