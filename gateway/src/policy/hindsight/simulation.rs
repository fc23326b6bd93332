//! What other policies would change, counted while the record streams by.

use std::collections::BTreeMap;

use super::{Answer, NotJudged, PastCall, Unknown, Verdict};
use crate::{audit::query::Record, policy::PolicySet, request_info::RequestInfo};

/// The most groups that are kept apart. Totals count every call all the same.
const MAX_GROUPS: usize = 10_000;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    NewlyDenied,
    NewlyHeld,
    NewlyAllowed,
    /// It passes as it did, and the agent sees in clear what it saw masked.
    NewlyShownInClear,
}

/// Calls that change alike.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Group {
    pub change: Change,
    pub agent: String,
    pub verb: String,
    /// `deployments.apps/scale`, or a path.
    pub resource: String,
    pub namespace: String,
    pub then: Verdict,
    pub now: Verdict,
}

/// How many calls, and one of them.
#[derive(Clone, Debug)]
pub struct Counted {
    pub calls: u64,
    pub example: String,
}

#[derive(Debug, Default)]
pub struct Simulation {
    pub calls: u64,
    pub unchanged: u64,
    pub changes: BTreeMap<Group, Counted>,
    /// Totals of all changes.
    pub changed: BTreeMap<Change, u64>,
    /// Changes of calls for whose group there was no room.
    pub left_out: u64,
    /// By the reason.
    pub undecidable: BTreeMap<Unknown, Counted>,
    pub not_judged: BTreeMap<NotJudged, u64>,
}

impl Simulation {
    /// Judges one call, of a record with its bodies.
    pub fn add(&mut self, policies: &PolicySet, record: &Record) {
        let read = PastCall::read(record);
        if matches!(read, Err(NotJudged::OfPeople)) {
            return;
        }
        self.calls += 1;
        let call = match read {
            Err(why) => {
                *self.not_judged.entry(why).or_default() += 1;
                return;
            }
            Ok(Err(unknown)) => return self.give_up(unknown, record.audit_id()),
            Ok(Ok(call)) => call,
        };
        match policies.judge_past(&call) {
            Err(unknown) => self.give_up(unknown, &call.audit_id),
            Ok(now) => {
                let is_shown = policies.shows_what_was_masked(&call);
                self.compare(&call, now, is_shown);
            }
        }
    }

    pub fn total(&self, change: Change) -> u64 {
        self.changed.get(&change).copied().unwrap_or_default()
    }

    pub fn undecidable(&self) -> u64 {
        self.undecidable.values().map(|counted| counted.calls).sum()
    }

    fn give_up(&mut self, unknown: Unknown, audit_id: &str) {
        let counted = self.undecidable.entry(unknown);
        count(counted, audit_id);
    }

    fn compare(&mut self, call: &PastCall, now: Verdict, is_shown: bool) {
        let then = &call.then.verdict;
        let shown = is_shown.then_some(Change::NewlyShownInClear);
        let Some(change) = change(then.answer, now.answer).or(shown) else {
            self.unchanged += 1;
            return;
        };
        *self.changed.entry(change).or_default() += 1;
        let group = Group {
            change,
            agent: call.who().to_owned(),
            verb: call.request.verb.clone(),
            resource: resource(&call.request),
            namespace: call.request.namespace.clone(),
            then: then.clone(),
            now,
        };
        if self.changes.len() >= MAX_GROUPS && !self.changes.contains_key(&group) {
            self.left_out += 1;
            return;
        }
        count(self.changes.entry(group), &call.audit_id);
    }
}

fn count<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, Counted>, audit_id: &str) {
    let counted = entry.or_insert_with(|| Counted {
        calls: 0,
        example: audit_id.to_owned(),
    });
    counted.calls += 1;
}

fn change(then: Answer, now: Answer) -> Option<Change> {
    (then != now).then_some(match now {
        Answer::Deny => Change::NewlyDenied,
        Answer::Hold => Change::NewlyHeld,
        Answer::Allow => Change::NewlyAllowed,
    })
}

/// As `audit list` takes it.
pub(in crate::policy) fn resource(request: &RequestInfo) -> String {
    if !request.is_resource_request {
        return request.path.clone();
    }
    let mut resource = request.resource.clone();
    for (mark, part) in [('.', &request.api_group), ('/', &request.subresource)] {
        if !part.is_empty() {
            resource.push(mark);
            resource.push_str(part);
        }
    }
    resource
}
