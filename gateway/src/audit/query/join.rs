//! Intents and outcomes become calls, and every record counts once.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::Record;

/// Fed with sources newest first, and each source in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Join {
    seen: BTreeMap<String, Ranges>,
    /// What this source has shown so far; it counts for later sources.
    here: BTreeMap<String, Ranges>,
    /// Intents of this source whose outcome did not come yet.
    open: HashMap<String, Record>,
    /// Outcomes whose intent is in an older source.
    awaiting: HashSet<String>,
    /// Holds without an outcome, whose intent is in an older source.
    held: HashMap<String, Record>,
}

impl Join {
    pub(super) fn add(&mut self, record: Record, emit: &mut impl FnMut(Record)) {
        if !self.is_first(&record) {
            return;
        }
        if !record.is_outcome() {
            self.begin(record);
            return;
        }
        self.held.remove(record.audit_id());
        if self.open.remove(record.audit_id()).is_none() {
            self.awaiting.insert(record.audit_id().to_owned());
        }
        emit(record);
    }

    /// An intent, or a hold, which says more than its intent.
    fn begin(&mut self, record: Record) {
        let id = record.audit_id().to_owned();
        if !record.is_hold() {
            let held = self.held.remove(&id);
            self.open.insert(id, held.unwrap_or(record));
        } else if let Some(known) = self.open.get_mut(&id) {
            keep_newer(known, record);
        } else if !self.awaiting.contains(&id) {
            match self.held.get_mut(&id) {
                Some(known) => keep_newer(known, record),
                None => drop(self.held.insert(id, record)),
            }
        }
    }

    /// What is still open, and was not answered in a newer source, has no outcome.
    pub(super) fn end_source(&mut self, emit: &mut impl FnMut(Record)) {
        for (audit_id, intent) in self.open.drain() {
            if !self.awaiting.remove(&audit_id) {
                emit(without_outcome(intent));
            }
        }
        for (log_id, ranges) in std::mem::take(&mut self.here) {
            self.seen.entry(log_id).or_default().merge(ranges);
        }
    }

    fn is_first(&mut self, record: &Record) -> bool {
        let Some(sequence) = record.sequence() else {
            return true;
        };
        if self
            .seen
            .get(record.log_id())
            .is_some_and(|ranges| ranges.contains(sequence))
        {
            return false;
        }
        self.here
            .entry(record.log_id().to_owned())
            .or_default()
            .insert(sequence)
    }
}

/// All of one call are in one log.
fn keep_newer(known: &mut Record, other: Record) {
    if other.sequence() > known.sequence() {
        *known = other;
    }
}

fn without_outcome(mut intent: Record) -> Record {
    intent
        .0
        .insert("outcome".to_owned(), Value::from("unknown"));
    intent
}

/// Sequences as ranges: a log read whole takes one entry.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn contains(&self, sequence: u64) -> bool {
        self.0
            .range(..=sequence)
            .next_back()
            .is_some_and(|(_, &last)| sequence <= last)
    }

    /// Returns whether it was new.
    fn insert(&mut self, sequence: u64) -> bool {
        let new = !self.contains(sequence);
        if new {
            self.add(sequence, sequence);
        }
        new
    }

    fn merge(&mut self, other: Self) {
        other
            .0
            .into_iter()
            .for_each(|(first, last)| self.add(first, last));
    }

    /// Adds a range that overlaps none, joining it with its neighbours.
    fn add(&mut self, mut first: u64, mut last: u64) {
        if let Some((&before, &end)) = self
            .0
            .range(..first)
            .next_back()
            .filter(|(_, end)| **end + 1 == first)
        {
            debug_assert!(end < first);
            first = before;
        }
        if let Some(after) = last.checked_add(1).and_then(|next| self.0.remove(&next)) {
            last = after;
        }
        self.0.insert(first, last);
    }
}

#[cfg(test)]
mod tests;
