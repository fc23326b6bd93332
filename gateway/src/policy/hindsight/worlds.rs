//! The calls that a recorded call may have been.

use std::{borrow::Cow, collections::BTreeSet};

use super::{PastCall, Unknown};
use crate::{
    api::v1alpha1::{
        agent_policy::{Effect, Subject},
        matching::{ANY, OidcMatch},
    },
    identity::Identity,
    policy::PolicySet,
};

/// Each doubles the worlds.
const MAX_OPEN_SUBJECTS: usize = 6;
/// Each is as many worlds again.
const MAX_POD_AGENTS: usize = 32;

pub(super) struct Worlds<'a> {
    /// By claims, and of the same claims by the pod's agent.
    identities: Vec<Cow<'a, Identity>>,
    pod_agents: usize,
    applies: Vec<bool>,
    agents: Vec<bool>,
    /// The claims in which the identities differ.
    claims: BTreeSet<String>,
}

pub(super) struct World<'w> {
    pub(super) identity: &'w Identity,
    pub(super) applies: bool,
    pub(super) namespace_is_agents: bool,
    at: (usize, usize),
}

impl<'a> Worlds<'a> {
    pub(super) fn of(policies: &PolicySet, call: &'a PastCall) -> Result<Self, Unknown> {
        let open = open_subjects(policies, call);
        let claims = open
            .iter()
            .flat_map(|subject| unknown_claims(subject, call))
            .map(|(claim, _)| claim.clone())
            .collect();
        if open.len() > MAX_OPEN_SUBJECTS {
            return Err(Unknown::Claims(claims));
        }
        let pod_agents = pod_agents(policies, call);
        if pod_agents.len() > MAX_POD_AGENTS {
            return Err(Unknown::PodAgent);
        }
        let identities = identities(call, &open).into_iter();
        let of_agents = |identity| with_pod_agents(identity, &pod_agents);
        Ok(Self {
            identities: identities.flat_map(of_agents).collect(),
            pod_agents: pod_agents.len(),
            applies: worlds(call.applies),
            agents: worlds(call.namespace_is_agents),
            claims,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = World<'_>> {
        let identities = self.identities.iter().enumerate();
        identities.flat_map(move |(one, identity)| {
            let applies = self.applies.iter().enumerate();
            applies.flat_map(move |(two, applies)| {
                self.agents.iter().map(move |agents| World {
                    identity,
                    applies: *applies,
                    namespace_is_agents: *agents,
                    at: (one, two),
                })
            })
        })
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.identities.iter().map(|identity| &**identity)
    }

    pub(super) fn may_apply(&self) -> bool {
        self.applies.contains(&true)
    }

    /// For want of what a world is not decided as the first is.
    pub(super) fn what_differs(&self, world: &World<'_>) -> Unknown {
        match world.at {
            (0, 0) => Unknown::AgentNamespace,
            (0, _) => Unknown::Apply,
            (identity, _) if identity < self.pod_agents => Unknown::PodAgent,
            _ => Unknown::Claims(self.claims.clone()),
        }
    }
}

/// The agents that the pod of a user's token may have been of, by its ServiceAccount: none, or one that policies restrict.
fn pod_agents(policies: &PolicySet, call: &PastCall) -> Vec<Option<String>> {
    let mut agents = vec![None];
    if call.identity.pod_of_user().is_none() {
        return agents;
    }
    let restricting = policies.rules().filter(|rule| rule.effect != Effect::Allow);
    for subject in restricting.flat_map(|rule| rule.subjects.iter()) {
        if let Subject::Agent(agent) = subject
            && !agents.contains(&Some(agent.name.clone()))
        {
            agents.push(Some(agent.name.clone()));
        }
    }
    agents
}

fn with_pod_agents<'a>(
    identity: Cow<'a, Identity>,
    agents: &[Option<String>],
) -> Vec<Cow<'a, Identity>> {
    let with = |agent: &Option<String>| match agent {
        None => identity.clone(),
        Some(_) => Cow::Owned(Identity {
            pod_agent: agent.clone(),
            ..identity.clone().into_owned()
        }),
    };
    agents.iter().map(with).collect()
}

fn worlds(known: Option<bool>) -> Vec<bool> {
    known.map_or_else(|| vec![false, true], |known| vec![known])
}

/// The subjects that may or may not be the caller, each once.
fn open_subjects<'p>(policies: &'p PolicySet, call: &PastCall) -> Vec<&'p OidcMatch> {
    let mut open: Vec<&OidcMatch> = Vec::new();
    for subject in policies.rules().flat_map(|rule| rule.subjects.iter()) {
        if let Some(oidc) = subject.oidc()
            && may_be(oidc, call)
            && !open.contains(&oidc)
        {
            open.push(oidc);
        }
    }
    open
}

/// Whether the claims that are known fit and others are not known.
fn may_be(subject: &OidcMatch, call: &PastCall) -> bool {
    let identity = &call.identity;
    let known = |claim: &String| identity.claims.get(claim);
    let fits = |(claim, value): (&String, &String)| {
        known(claim).is_none_or(|actual| value == ANY || actual.contains(value))
    };
    identity.issuer.as_ref() == Some(&subject.issuer)
        && subject.claims.iter().all(fits)
        && unknown_claims(subject, call).next().is_some()
}

fn unknown_claims<'s>(
    subject: &'s OidcMatch,
    call: &'s PastCall,
) -> impl Iterator<Item = (&'s String, &'s String)> {
    let known = &call.identity.claims;
    subject
        .claims
        .iter()
        .filter(|(claim, _)| !known.contains_key(*claim))
}

/// One for each set of the subjects that the caller may have been. A claim may have several values, so every set has
/// one.
fn identities<'a>(call: &'a PastCall, open: &[&OidcMatch]) -> Vec<Cow<'a, Identity>> {
    let sets = 0..1_usize << open.len();
    let of = |set: usize| {
        let members = open.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        members.fold(Cow::Borrowed(&call.identity), |identity, (_, subject)| {
            Cow::Owned(with_claims(identity.into_owned(), subject, call))
        })
    };
    sets.map(of).collect()
}

fn with_claims(mut identity: Identity, subject: &OidcMatch, call: &PastCall) -> Identity {
    for (claim, value) in unknown_claims(subject, call) {
        let values = identity.claims.entry(claim.clone()).or_default();
        values.push(value.clone());
    }
    identity
}
