//! Where the log stands: the next sequence, what is cut, what is released.
//!
//! The writer keeps it up to date and recovery builds it from frames, through the same functions.

use std::collections::VecDeque;

use super::{Cut, segment::Header};

/// Records that are not in a cut, or in one cut.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    /// When the first of them was appended.
    pub(super) since_micros: Option<u64>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ledger {
    pub(super) next_sequence: u64,
    pub(super) cut_through: u64,
    pub(super) released: u64,
    pub(super) appended_at_micros: u64,
    pub(super) pending: VecDeque<(Cut, Extent)>,
    pub(super) uncut: Extent,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            next_sequence: 1,
            cut_through: 0,
            released: 0,
            appended_at_micros: 0,
            pending: VecDeque::new(),
            uncut: Extent::default(),
        }
    }

    /// Goes on from a header whose earlier segments are gone.
    pub(super) fn adopt(&mut self, header: &Header) {
        self.next_sequence = header.first;
        self.cut_through = header.cut_through;
        self.uncut = Extent::default();
    }

    pub(super) fn last(&self) -> u64 {
        self.next_sequence - 1
    }

    /// The clock may step back, a log may not.
    pub(super) fn stamp(&self, now_micros: u64) -> u64 {
        now_micros.max(self.appended_at_micros)
    }

    pub(super) fn record(&mut self, bytes: u64, appended_at_micros: u64) {
        self.next_sequence += 1;
        self.appended_at_micros = appended_at_micros;
        self.uncut.bytes += bytes;
        self.uncut.since_micros.get_or_insert(appended_at_micros);
    }

    /// The cut that would be made now.
    pub(super) fn uncut(&self) -> Option<Cut> {
        let cut = Cut {
            first: self.cut_through + 1,
            last: self.last(),
        };
        (cut.first <= cut.last).then_some(cut)
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        self.cut_through = cut.last;
        self.pending
            .push_back((cut, std::mem::take(&mut self.uncut)));
    }

    /// Releases go by whole cuts: what is not in a cut is not in the store either.
    pub(super) fn releasable(&self, through: u64) -> Option<u64> {
        self.pending
            .iter()
            .map(|(cut, _)| cut.last)
            .take_while(|last| *last <= through)
            .last()
    }

    pub(super) fn release(&mut self, through: u64) {
        self.released = self.released.max(through);
        while self
            .pending
            .front()
            .is_some_and(|(cut, _)| cut.last <= self.released)
        {
            self.pending.pop_front();
        }
    }

    /// Everything that is in no released cut.
    pub(super) fn unreleased(&self) -> Extent {
        let extents = self
            .pending
            .iter()
            .map(|(_, extent)| extent)
            .chain([&self.uncut]);
        extents.fold(Extent::default(), |sum, extent| Extent {
            bytes: sum.bytes + extent.bytes,
            since_micros: sum.since_micros.or(extent.since_micros),
        })
    }
}
