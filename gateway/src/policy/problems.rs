//! What is wrong with one policy, for whoever wrote it.

use super::{builtin, check};
use crate::api::v1alpha1::agent_policy::AgentPolicySpec;

/// Everything that keeps gateways from taking this policy, each as `<field>: <what>`; nothing where they take it.
pub fn problems(name: &str, spec: &AgentPolicySpec) -> Vec<String> {
    let reserved = (name == builtin::POLICY)
        .then(|| "metadata.name: this name is reserved; choose another".to_owned());
    let wrong = check::policy(name, spec).err().unwrap_or_default();
    let wrong = wrong
        .into_iter()
        .map(|wrong| format!("{}: {}", wrong.field, wrong.message));
    reserved.into_iter().chain(wrong).collect()
}
