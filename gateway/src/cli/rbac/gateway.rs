//! The gateway's own rights: whom it may be, and up to where.

use serde_json::{Value, json};

use super::account::Account;
use crate::{
    api::names::NAMESPACE,
    authn::{AGENTS_GROUP, EXTRA_KEYS},
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// One role per namespace, so that generating for one takes nothing from the others.
pub(super) fn identities(namespace: &str, accounts: &[Account], legacy: bool) -> [Value; 2] {
    let users: Vec<_> = accounts
        .iter()
        .filter(|account| account.namespace == namespace)
        .map(Account::user)
        .collect();
    let rule = match legacy {
        true => {
            json!({"apiGroups": [""], "resources": ["users"], "resourceNames": users, "verbs": ["impersonate"]})
        }
        false => {
            json!({"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": users,
                   "verbs": ["impersonate:user-info"]})
        }
    };
    let name = match legacy {
        true => format!("sallyport-gateway-identities-legacy-{namespace}"),
        false => format!("sallyport-gateway-identities-{namespace}"),
    };
    role(&name, &json!([rule]))
}

/// What is beside the user's name. In the new form it is installed with the gateway.
pub(super) fn legacy_marks() -> [Value; 2] {
    let extras = EXTRA_KEYS.map(|key| format!("userextras/{key}"));
    let rules = json!([
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": [AGENTS_GROUP], "verbs": ["impersonate"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": extras, "verbs": ["impersonate"]},
    ]);
    role("sallyport-gateway-marks-legacy", &rules)
}

/// The ClusterRole is installed with the gateway.
pub(super) fn ceiling(namespace: &str) -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": "sallyport-gateway-ceiling", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "sallyport-gateway-ceiling"},
        "subjects": [the_gateway()],
    })
}

fn role(name: &str, rules: &Value) -> [Value; 2] {
    let role = json!({
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    });
    let binding = json!({
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [the_gateway()],
    });
    [role, binding]
}

fn the_gateway() -> Value {
    json!({"kind": "ServiceAccount", "name": "sallyport-gateway", "namespace": NAMESPACE})
}
