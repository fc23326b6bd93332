//! Who decides on a held call, and how.

use std::{collections::BTreeSet, time::Duration};

use super::rule::Rule;
use crate::api::v1alpha1::{
    agent_policy::{Channel, Scope},
    approval_request,
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
