//! The calls received last, in bounded memory.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use jiff::Timestamp;

use super::Record;

pub(super) struct Newest {
    limit: usize,
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Newest {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    /// Returns the time before which a call is too old, once there are enough.
    pub(super) fn offer(&mut self, record: Record) -> Option<Timestamp> {
        self.heap.push(Reverse(Entry {
            received: record.received().unwrap_or_default(),
            record,
        }));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
        let full = self.heap.len() == self.limit;
        self.heap
            .peek()
            .filter(|_| full)
            .map(|Reverse(oldest)| oldest.received)
    }

    pub(super) fn into_sorted(self) -> Vec<Record> {
        let mut entries: Vec<_> = self.heap.into_iter().map(|Reverse(entry)| entry).collect();
        entries.sort();
        entries.into_iter().map(|entry| entry.record).collect()
    }
}

struct Entry {
    received: Timestamp,
    record: Record,
}

impl Entry {
    fn key(&self) -> (Timestamp, &str, Option<u64>) {
        (self.received, self.record.log_id(), self.record.sequence())
    }
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
