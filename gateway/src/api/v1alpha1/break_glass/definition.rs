use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use super::BreakGlass;
use crate::api::v1alpha1::finality::{self, Rule, SPEC, VOTES};

const CLOSING: Rule = (
    "!has(oldSelf.status.closed) || \
     (has(self.status.closed) && self.status.closed == oldSelf.status.closed)",
    "a closing is final",
);

/// The CustomResourceDefinition.
pub fn definition() -> CustomResourceDefinition {
    let status = json!({"votes": []});
    finality::definition::<BreakGlass>(&[SPEC, VOTES, CLOSING], &status)
}
