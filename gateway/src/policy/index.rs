//! Rules by what they are for, so that a call is compared with those that could match it and not with all of them.

use std::{collections::HashMap, sync::Arc};

use super::{
    reach::Reach,
    rule::{Rule, Target},
};
use crate::{
    api::v1alpha1::{agent_policy::Effect, matching::ANY},
    identity::Identity,
    request_info::RequestInfo,
};

/// All rules, in order, and the places of those for each namespace.
#[derive(Debug)]
pub(super) struct Index {
    rules: Vec<Rule>,
    by_namespace: HashMap<String, Vec<usize>>,
    for_any_namespace: Vec<usize>,
    /// Not for any namespace, and of consequence for a request over all of them.
    restricting: Vec<usize>,
    for_paths: Vec<usize>,
}

impl Index {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut index = Self {
            by_namespace: HashMap::new(),
            for_any_namespace: Vec::new(),
            restricting: Vec::new(),
            for_paths: Vec::new(),
            rules: Vec::new(),
        };
        for (place, rule) in rules.iter().enumerate() {
            index.enter(place, rule);
        }
        Self { rules, ..index }
    }

    fn enter(&mut self, place: usize, rule: &Rule) {
        let Target::Objects { namespaces, .. } = &rule.target else {
            self.for_paths.push(place);
            return;
        };
        if namespaces.iter().any(|namespace| namespace == ANY) {
            self.for_any_namespace.push(place);
            return;
        }
        for namespace in namespaces {
            let places = self.by_namespace.entry(namespace.clone()).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        if rule.effect != Effect::Allow || rule.obligations.restrict() {
            self.restricting.push(place);
        }
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that may match the call, or concern a part of it, in order. Rules of one policy have the same subjects,
    /// which are compared once.
    pub(super) fn candidates<'s>(
        &'s self,
        identity: &Identity,
        request: &RequestInfo,
    ) -> impl Iterator<Item = &'s Rule> {
        let (one, other) = self.places(request);
        let mut last: Option<(&Arc<[_]>, bool)> = None;
        let for_caller = move |rule: &&'s Rule| match last {
            Some((subjects, is_for)) if Arc::ptr_eq(subjects, &rule.subjects) => is_for,
            _ => last.insert((&rule.subjects, rule.is_for(identity))).1,
        };
        merged(one, other)
            .map(|place| &self.rules[place])
            .filter(for_caller)
    }

    fn places(&self, request: &RequestInfo) -> (&[usize], &[usize]) {
        if !request.is_resource_request {
            return (&self.for_paths, &[]);
        }
        let named = match Reach::of(request) {
            Reach::Namespace(namespace) => self.by_namespace.get(namespace),
            Reach::Cluster => self.by_namespace.get(""),
            Reach::AllNamespaces => Some(&self.restricting),
        };
        let named = named.map_or(&[][..], Vec::as_slice);
        (&self.for_any_namespace, named)
    }
}

/// Two ascending lists as one.
fn merged(one: &[usize], other: &[usize]) -> impl Iterator<Item = usize> {
    let (mut one, mut other) = (
        one.iter().copied().peekable(),
        other.iter().copied().peekable(),
    );
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(left), Some(right)) if left > right => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
