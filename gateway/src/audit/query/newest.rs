//! The calls received last, in bounded memory.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use jiff::Timestamp;

use super::Record;
use crate::audit::schema::BODIES;

pub(super) struct Newest {
    limit: usize,
    /// Bytes of bodies that there is room for.
    room: usize,
    heap: BinaryHeap<Reverse<Entry>>,
    bytes: usize,
    /// The newest that had no room. What is older has none either, or there would be a gap.
    left_out: Option<Key>,
}

impl Newest {
    pub(super) fn new(limit: usize, room: usize) -> Self {
        Self {
            limit,
            room,
            heap: BinaryHeap::new(),
            bytes: 0,
            left_out: None,
        }
    }

    /// Returns the time before which a call is too old, once there are enough.
    pub(super) fn offer(&mut self, record: Record) -> Option<Timestamp> {
        let entry = Entry {
            received: record.received().unwrap_or_default(),
            bytes: bytes(&record),
            record,
        };
        if self.left_out.as_ref().is_none_or(|out| entry.key() > *out) {
            self.bytes += entry.bytes;
            self.heap.push(Reverse(entry));
        }
        // One is always kept: it may have room where this counts more than there is.
        while self.heap.len() > self.limit || (self.bytes > self.room && self.heap.len() > 1) {
            let Some(Reverse(oldest)) = self.heap.pop() else {
                break;
            };
            self.bytes -= oldest.bytes;
            self.left_out = Some(oldest.key());
        }
        let oldest = self.heap.peek().filter(|_| self.is_full());
        oldest.map(|Reverse(oldest)| oldest.received)
    }

    /// Whether there may be more than there is room for.
    pub(super) fn is_full(&self) -> bool {
        self.heap.len() == self.limit || self.left_out.is_some()
    }

    pub(super) fn into_sorted(self) -> Vec<Record> {
        let mut entries: Vec<_> = self.heap.into_iter().map(|Reverse(entry)| entry).collect();
        entries.sort();
        entries.into_iter().map(|entry| entry.record).collect()
    }
}

/// Time, log and place in it.
type Key = (Timestamp, String, Option<u64>);

struct Entry {
    received: Timestamp,
    bytes: usize,
    record: Record,
}

impl Entry {
    fn key(&self) -> Key {
        let log = self.record.log_id().to_owned();
        (self.received, log, self.record.sequence())
    }
}

fn bytes(record: &Record) -> usize {
    let bodies = BODIES.iter().filter_map(|name| record.text(&[name]));
    bodies.map(str::len).sum()
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
