//! What the log must hold, kept beside it.

use std::sync::Arc;

use super::{crash_disk::CrashDisk, stored};
use crate::audit::wal::{
    Appended, Cut, Frame, Payload, error::NotRecorded, reader::Range, segment::Segment,
    writer::Writer,
};

#[derive(Clone, Default)]
pub(super) struct Model {
    seed: u64,
    /// Acknowledged, or reported by a recovery: sequence 1 first.
    acknowledged: Vec<Payload>,
    /// Refused by the disk since the last thing that it took.
    refused: Vec<Payload>,
    cuts: Vec<Cut>,
    refused_cuts: Vec<Cut>,
    release_tried: u64,
    released: u64,
    stamped: u64,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    pub(super) fn appended(&mut self, payload: &Payload, outcome: &Result<Appended, NotRecorded>) {
        match outcome {
            Ok(appended) => {
                self.acknowledged.push(payload.clone());
                assert_eq!(
                    appended.sequence,
                    self.last(),
                    "seed {}: sequences have no gap",
                    self.seed
                );
                assert!(
                    appended.appended_at_micros >= self.stamped,
                    "seed {}: time steps back",
                    self.seed
                );
                self.stamped = appended.appended_at_micros;
                self.took();
            }
            Err(NotRecorded::SyncFailed(_) | NotRecorded::Io(_)) => {
                self.refused.push(payload.clone())
            }
            Err(_) => {}
        }
    }

    pub(super) fn cut(&mut self, outcome: Result<Option<Cut>, NotRecorded>) {
        let expected = Cut {
            first: self.cut_through() + 1,
            last: self.last(),
        };
        match outcome {
            Ok(Some(cut)) => {
                assert_eq!(cut, expected, "seed {}", self.seed);
                self.cuts.push(cut);
                self.took();
            }
            Ok(None) => assert!(
                expected.first > expected.last,
                "seed {}: nothing was cut",
                self.seed
            ),
            Err(_) => self.refused_cuts.push(expected),
        }
    }

    pub(super) fn releasing(&mut self, through: u64) {
        self.release_tried = self.release_tried.max(through);
    }

    pub(super) fn released(&mut self, through: u64) {
        self.released = self.released.max(through);
        self.took();
    }

    /// The disk took something: what it refused before must never appear.
    fn took(&mut self) {
        self.refused.clear();
        self.refused_cuts.clear();
    }

    fn cut_through(&self) -> u64 {
        self.cuts.last().map_or(0, |cut| cut.last)
    }

    /// The oldest cut that is not released, to release it.
    pub(super) fn oldest_cut(&self) -> Option<Cut> {
        self.cuts
            .iter()
            .copied()
            .find(|cut| cut.last > self.release_tried)
    }

    /// Compares with a log that is being written: exactly what was acknowledged.
    pub(super) fn check_live(&self, disk: &CrashDisk, writer: &Writer) {
        let seed = self.seed;
        assert_eq!(writer.ledger().last(), self.last(), "seed {seed}: records");
        self.check_records(&read_all(disk, &writer.segments(), seed));
        for (cut, _) in &writer.ledger().pending {
            let range = Range::new(Arc::new(disk.clone()), writer.segments(), *cut).unwrap();
            let sequences: Vec<u64> = range.map(|frame| frame.unwrap().sequence).collect();
            assert!(
                sequences.into_iter().eq(cut.first..=cut.last),
                "seed {seed}: a cut is read whole"
            );
        }
    }

    /// Compares with what a recovery found, and takes it over: it may not be lost any more.
    pub(super) fn check_recovered(&mut self, disk: &CrashDisk, writer: &Writer) {
        let seed = self.seed;
        let frames = read_all(disk, &writer.segments(), seed);
        let last = writer.ledger().last();
        assert!(
            last >= self.last(),
            "seed {seed}: acknowledged {} but recovered {last}",
            self.last()
        );
        self.take_over_refused(&frames);
        assert_eq!(
            last,
            self.last(),
            "seed {seed}: more was recovered than written"
        );
        self.check_records(&frames);
        self.check_cuts(writer);
    }

    /// Recovered beyond the acknowledged: refused ones, in the order in which they were written.
    fn take_over_refused(&mut self, frames: &[Frame]) {
        let mut refused = std::mem::take(&mut self.refused).into_iter();
        let known = self.last();
        for frame in frames.iter().filter(|frame| frame.sequence > known) {
            let written = refused.find(|payload| stored(payload, frame.sequence) == frame.payload);
            let written = written.unwrap_or_else(|| {
                panic!(
                    "seed {}: record {} was never written here",
                    self.seed, frame.sequence
                )
            });
            self.acknowledged.push(written);
        }
    }

    fn check_records(&self, frames: &[Frame]) {
        let oldest = frames
            .first()
            .map_or_else(|| self.last() + 1, |frame| frame.sequence);
        assert!(
            oldest <= self.release_tried + 1,
            "seed {}: record {oldest} is the oldest",
            self.seed
        );
        for (frame, sequence) in frames.iter().zip(oldest..) {
            assert_eq!(frame.sequence, sequence, "seed {}: a gap", self.seed);
            let expected = stored(&self.acknowledged[sequence as usize - 1], sequence);
            assert!(
                frame.payload == expected,
                "seed {}: record {sequence} has other bytes",
                self.seed
            );
        }
    }

    fn check_cuts(&mut self, writer: &Writer) {
        let seed = self.seed;
        let mut pending: Vec<Cut> = writer
            .ledger()
            .pending
            .iter()
            .map(|(cut, _)| *cut)
            .collect();
        if let Some(cut) = pending.iter().find(|cut| cut.last > self.cut_through()) {
            assert!(
                self.refused_cuts.contains(cut),
                "seed {seed}: {cut:?} was never made"
            );
            self.cuts.push(*cut);
        }
        self.refused_cuts.clear();
        assert!(
            pending.iter().all(|cut| cut.last > self.released),
            "seed {seed}: released cuts come back"
        );
        pending.retain(|cut| cut.last > self.release_tried);
        let expected: Vec<Cut> = self
            .cuts
            .iter()
            .copied()
            .filter(|cut| cut.last > self.release_tried)
            .collect();
        assert_eq!(pending, expected, "seed {seed}: pending cuts");
    }
}

/// Every record that the segments hold.
fn read_all(disk: &CrashDisk, segments: &[Segment], seed: u64) -> Vec<Frame> {
    let holding = || {
        segments
            .iter()
            .filter(|segment| segment.first <= segment.last)
    };
    let (Some(first), Some(last)) = (holding().next(), holding().next_back()) else {
        return Vec::new();
    };
    let all = Cut {
        first: first.first,
        last: last.last,
    };
    Range::new(Arc::new(disk.clone()), segments.to_vec(), all)
        .unwrap()
        .map(|frame| frame.unwrap_or_else(|error| panic!("seed {seed}: {error:?}")))
        .collect()
}
