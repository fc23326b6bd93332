//! The proof that a call may go upstream. [`Permit`] has no other maker than [`decide`].

use std::sync::Arc;

use super::{Denial, rule::Rule};
use crate::{api::v1alpha1::agent_policy::Effect, request_info::RequestInfo};

/// The right to forward one call. It cannot be copied, and sending consumes it.
#[derive(Debug)]
#[must_use = "a permit that is not consumed by a forward permits nothing"]
pub struct Permit {
    rule: Arc<str>,
    policy_digest: Arc<str>,
}

impl Permit {
    /// The rule that allowed the call: `<policy>/<rule>`, or a built-in rule's name.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The digest of the policies that were in force.
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }
}

#[derive(Debug)]
#[must_use]
pub enum Decision {
    Allow(Permit),
    Deny(Denial),
}

/// Settles on the strictest effect among the rules that match.
pub(super) fn decide<'r>(
    matching: impl Iterator<Item = &'r Rule>,
    request: &RequestInfo,
    policy_digest: &Arc<str>,
) -> Decision {
    let mut allowing = None;
    for rule in matching {
        match rule.effect {
            Effect::Deny => return Decision::Deny(Denial::by_rule(rule, request)),
            Effect::Allow => allowing = allowing.or(Some(rule)),
        }
    }
    match allowing {
        None => Decision::Deny(Denial::by_default()),
        Some(rule) => Decision::Allow(Permit {
            rule: Arc::clone(&rule.id),
            policy_digest: Arc::clone(policy_digest),
        }),
    }
}
