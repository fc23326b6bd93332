//! How an object says which credential it speaks of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value that matches everything. It is always written out: nothing matches by being absent.
pub const ANY: &str = "*";

/// A ServiceAccount, by the token it presents.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ServiceAccountMatch {
    /// The ServiceAccount's namespace, or `"*"`.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// The ServiceAccount's name, or `"*"`.
    #[schemars(length(min = 1))]
    pub name: String,
}

impl ServiceAccountMatch {
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        is_any_or(&self.namespace, namespace) && is_any_or(&self.name, name)
    }
}

/// A token of one configured OIDC issuer whose verified claims have the values listed here.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct OidcMatch {
    /// The issuer's `name` in the gateway's configuration.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// Claim to value. All must be equal; `"*"` asks only that the token has the claim. A claim that is a
    /// list, such as `groups`, is equal where one of its entries is; a claim that is empty or an object is
    /// none. At least one is required, since a public issuer such as GitHub's signs for everyone.
    #[schemars(extend("minProperties" = 1))]
    pub claims: BTreeMap<String, String>,
}

impl OidcMatch {
    pub fn matches(&self, issuer: &str, claims: &BTreeMap<String, Vec<String>>) -> bool {
        self.issuer == issuer
            && !self.claims.is_empty()
            && self.claims.iter().all(|(claim, value)| {
                claims
                    .get(claim)
                    .is_some_and(|actual| actual.iter().any(|actual| is_any_or(value, actual)))
            })
    }
}

fn is_any_or(pattern: &str, actual: &str) -> bool {
    pattern == ANY || pattern == actual
}
