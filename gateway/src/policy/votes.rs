//! What votes come to. A gateway counts them by its own rules, whoever stored them.

use std::collections::BTreeSet;

use crate::api::v1alpha1::{
    agent_policy::{Channel, Scope},
    approval_request::{Requester, Terms, Verdict, Vote},
};

/// The synthetic users of agents.
const AGENTS: &str = "sallyport:";
/// What is no person, and may not decide with its own credential.
const MACHINES: [&str; 2] = ["system:serviceaccount:", "system:node:"];

/// Where the votes stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// So many people have approved, and more must.
    Open {
        approved: usize,
    },
    Approved {
        by: Vec<String>,
        scope: Scope,
    },
    /// One is enough.
    Denied {
        by: String,
        reason: Option<String>,
    },
}

/// Counts the votes that count: of people who may decide, by a way that is accepted, each person once.
pub fn standing(votes: &[Vote], requester: &Requester, terms: &Terms) -> Standing {
    let valid = |vote: &&Vote| terms.channels.contains(&vote.via) && may_decide(vote, requester);
    let mut approving: Vec<&Vote> = Vec::new();
    for vote in votes.iter().filter(valid) {
        if vote.result == Verdict::Denied {
            return Standing::Denied {
                by: vote.by.clone(),
                reason: vote.reason.clone(),
            };
        }
        if !approving
            .iter()
            .any(|other| is_same_person(&other.by, &vote.by))
        {
            approving.push(vote);
        }
    }
    if approving.len() < usize::from(terms.people.max(1)) {
        return Standing::Open {
            approved: approving.len(),
        };
    }
    Standing::Approved {
        scope: scope(&approving, &terms.scopes),
        by: approving.iter().map(|vote| vote.by.clone()).collect(),
    }
}

fn may_decide(vote: &Vote, requester: &Requester) -> bool {
    let is_machine = MACHINES.iter().any(|prefix| vote.by.starts_with(prefix));
    let is_nobody = vote.by.is_empty() || vote.by.starts_with(AGENTS);
    let is_script = is_machine && vote.via == Channel::Kubernetes;
    !(is_nobody || is_script || requested(&vote.by, requester))
}

/// Whether the API server can know a person by this name: no agent, and nothing that Kubernetes names itself.
pub fn is_person(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(AGENTS) && !name.starts_with("system:")
}

/// Whether the request is by `person` themselves, as far as anybody can tell.
pub fn requested(person: &str, requester: &Requester) -> bool {
    let own = [&requester.username, &requester.upstream_user];
    own.into_iter()
        .chain(&requester.humans)
        .any(|own| is_same_person(own, person))
}

/// One name may be the other behind an issuer's prefix, as in `oidc:ann@example.com`.
fn is_same_person(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let is_behind_prefix = |long: &str, short: &str| {
        let prefix = long.strip_suffix(short);
        !short.is_empty() && prefix.is_some_and(|prefix| prefix.ends_with([':', '#', '/', '|']))
    };
    one == other || is_behind_prefix(&one, &other) || is_behind_prefix(&other, &one)
}

/// What all of them approved: where they differ, or the terms do not have it, this call alone.
fn scope(votes: &[&Vote], accepted: &[Scope]) -> Scope {
    let scopes: BTreeSet<_> = votes.iter().map(|vote| vote.scope).collect();
    match scopes.first() {
        Some(scope) if scopes.len() == 1 && accepted.contains(scope) => *scope,
        _ => Scope::Once,
    }
}

#[cfg(test)]
mod tests;
