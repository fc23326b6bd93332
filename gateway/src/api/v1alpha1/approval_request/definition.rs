use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use super::ApprovalRequest;
use crate::api::v1alpha1::finality::{self, Rule, SPEC, VOTES};

const USES: Rule = (
    "oldSelf.status.uses.all(use, use in self.status.uses) && \
     self.status.uses.size() >= oldSelf.status.uses.size()",
    "a use is final",
);
const WITHDRAWAL: Rule = (
    "!has(oldSelf.status.withdrawnAt) || \
     (has(self.status.withdrawnAt) && self.status.withdrawnAt == oldSelf.status.withdrawnAt)",
    "a withdrawal is final",
);

/// The CustomResourceDefinition.
pub fn definition() -> CustomResourceDefinition {
    let status = json!({"state": "Pending", "votes": [], "uses": []});
    finality::definition::<ApprovalRequest>(&[SPEC, VOTES, USES, WITHDRAWAL], &status)
}
