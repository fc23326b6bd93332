//! Who decides on a held call, and how.

use std::{collections::BTreeSet, time::Duration};

use super::rule::Rule;
use crate::api::v1alpha1::{
    agent_policy::{Channel, Scope},
    approval_request::{self, RiskLevel},
};

/// Each condition is the strictest of all rules that ask for approval.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Whoever decides must be in one group of each list.
    pub groups: Vec<Vec<String>>,
    pub people: u8,
    pub hold: Duration,
    pub expires: Duration,
    pub channels: BTreeSet<Channel>,
    pub scopes: BTreeSet<Scope>,
    /// In the words of the rules.
    pub reasons: Vec<String>,
}

impl Terms {
    pub const HOLD: Duration = Duration::from_secs(50);
    pub const LONGEST_HOLD: Duration = Duration::from_secs(30 * 60);
    pub const EXPIRES: Duration = Duration::from_secs(15 * 60);
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
}

/// The terms that any rule's can only tighten.
impl Default for Terms {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            people: 1,
            hold: Self::LONGEST_HOLD,
            expires: Self::LONGEST,
            channels: BTreeSet::from([Channel::Kubernetes, Channel::Console, Channel::Webhook]),
            scopes: BTreeSet::from([
                Scope::Once,
                Scope::SameRequest,
                Scope::Command,
                Scope::Session,
            ]),
            reasons: Vec::new(),
        }
    }
}

impl Terms {
    /// As a request for approval says it.
    pub(super) fn asked(&self) -> approval_request::Terms {
        let mut scopes = self.scopes.clone();
        scopes.insert(Scope::Once);
        approval_request::Terms {
            groups: self
                .groups
                .iter()
                .filter(|list| !list.is_empty())
                .cloned()
                .collect(),
            people: self.people.max(1),
            channels: self.channels.iter().copied().collect(),
            scopes: scopes.into_iter().collect(),
        }
    }

    /// Whatever the rules accept: a critical call is decided by a person's own credential, and each by itself.
    pub(super) fn restrict_to(&mut self, level: RiskLevel) {
        if level < RiskLevel::Critical {
            return;
        }
        let left_out = self.channels.remove(&Channel::Webhook) && self.channels.is_empty();
        self.scopes.retain(|scope| *scope == Scope::Once);
        self.reasons.extend(left_out.then(|| {
            "the call is critical, which no webhook may decide, and its rules accept nothing else; \
             have channels of the rules extended by Kubernetes or Console"
                .to_owned()
        }));
    }

    /// `problem` is why the rule's expression could not be evaluated, where it could not.
    pub(super) fn tighten(&mut self, rule: &Rule, problem: Option<&str>) {
        if let Some(terms) = &rule.terms {
            self.groups.extend(terms.groups.iter().cloned());
            self.people = self.people.max(terms.people);
            self.hold = self.hold.min(terms.hold);
            self.expires = self.expires.min(terms.expires);
            self.channels
                .retain(|channel| terms.channels.contains(channel));
            self.scopes.retain(|scope| terms.scopes.contains(scope));
        }
        self.reasons.extend(rule.reason.clone());
        self.reasons.extend(problem.map(|problem| {
            format!(
                "the expression of rule {:?} could not be evaluated: {problem}",
                rule.id
            )
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_call_is_decided_by_itself_and_by_no_webhook() {
        let mut terms = Terms::default();
        terms.restrict_to(RiskLevel::High);
        assert_eq!(terms, Terms::default());
        terms.restrict_to(RiskLevel::Critical);
        let asked = terms.asked();
        assert_eq!(asked.scopes, [Scope::Once]);
        assert!(!asked.channels.contains(&Channel::Webhook));
        assert_eq!(asked.channels.len(), 2);
        assert_eq!(terms.reasons, Vec::<String>::new());
    }

    #[test]
    fn critical_call_that_only_webhooks_could_decide_says_why_nobody_can() {
        let mut terms = Terms {
            channels: BTreeSet::from([Channel::Webhook]),
            ..Terms::default()
        };
        terms.restrict_to(RiskLevel::Critical);
        assert!(terms.asked().channels.is_empty());
        assert!(terms.reasons[0].contains("no webhook may decide"));
    }
}
