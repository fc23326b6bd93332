//! A policy as it is written, whether or not anybody can understand it.

use std::borrow::Cow;

use kube::{Resource, core::ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    api::v1alpha1::agent_policy::{AgentPolicy, AgentPolicySpec, AgentPolicyStatus},
    policy,
};

/// The API server's schema leaves fields out that it does not know, and an old CRD knows fewer than this version.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(in crate::controller) struct WrittenPolicy {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    pub(super) status: Option<AgentPolicyStatus>,
}

impl WrittenPolicy {
    pub(super) fn judge(&self, name: &str) -> AgentPolicyStatus {
        let verdict = self.understand(name);
        AgentPolicyStatus {
            accepted: verdict.is_ok(),
            message: verdict.unwrap_or_else(|problems| cut(&problems.join("\n"))),
            observed_generation: self.metadata.generation.unwrap_or_default(),
        }
    }

    fn understand(&self, name: &str) -> Result<String, Vec<String>> {
        let spec = AgentPolicySpec::deserialize(&self.spec);
        let spec = spec.map_err(|error| vec![format!("spec: {error}")])?;
        let problems = policy::problems(name, &spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(match spec.rules.len() {
            1 => "1 rule".to_owned(),
            rules => format!("{rules} rules"),
        })
    }
}

/// A thousand rules can have a thousand problems, and the first of them are enough.
const MOST: usize = 4096;

fn cut(message: &str) -> String {
    if message.len() <= MOST {
        return message.to_owned();
    }
    let kept = message.floor_char_boundary(MOST);
    let rest = message[kept..].lines().count();
    format!("{}…\nand more in {rest} lines", &message[..kept])
}

impl Resource for WrittenPolicy {
    type DynamicType = ();
    type Scope = <AgentPolicy as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        AgentPolicy::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        AgentPolicy::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        AgentPolicy::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        AgentPolicy::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(spec: &Value) -> AgentPolicyStatus {
        let object = json!({"metadata": {"name": "p", "generation": 3}, "spec": spec});
        let policy: WrittenPolicy = serde_json::from_value(object).expect("any policy is one");
        policy.judge("p")
    }

    fn rule(resources: &Value) -> Value {
        json!({
            "name": "read", "effect": "Allow", "verbs": ["get"],
            "apiGroups": [""], "resources": resources, "namespaces": ["*"], "names": ["*"],
        })
    }

    #[test]
    fn policy_that_gateways_take_says_how_many_rules_it_has() {
        let status = judge(&json!({"subjects": [{"all": "*"}], "rules": [rule(&json!(["pods"]))]}));
        assert_eq!(
            (
                status.accepted,
                status.message.as_str(),
                status.observed_generation
            ),
            (true, "1 rule", 3)
        );
    }

    #[test]
    fn every_problem_is_named_with_its_field() {
        let rules = [rule(&json!(["Pods"])), rule(&json!(["pods/*"]))];
        let status = judge(&json!({"subjects": [{"all": "*"}], "rules": rules}));
        assert!(!status.accepted);
        for field in [
            "spec.rules[0].resources[0]: ",
            "spec.rules[1].resources[0]: ",
            "spec.rules[1].name: ",
        ] {
            assert!(status.message.contains(field), "{}", status.message);
        }
    }

    #[test]
    fn what_nobody_understands_is_said_to_be_so() {
        let status = judge(&json!({"subjects": [{"everybody": "*"}], "rules": []}));
        assert!(
            !status.accepted && status.message.contains("everybody"),
            "{status:?}"
        );
        assert!(!judge(&Value::Null).accepted);
    }

    #[test]
    fn long_lists_of_problems_are_cut() {
        let text = "spec.rules: ö\n".repeat(1000);
        let cut = cut(&text);
        assert!(cut.len() < MOST + 100 && cut.ends_with("lines"), "{cut}");
    }
}
