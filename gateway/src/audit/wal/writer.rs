//! The log's only writer: takes a batch, makes it durable, says what became of it.
//!
//! It does its I/O where it is called and knows no thread, clock or channel, so a test can crash it
//! at every single I/O.

use std::{collections::VecDeque, io, sync::Arc};

use super::{
    Appended, Cut, Options, Payload,
    active::{Active, LARGEST_COMMIT},
    error::NotRecorded,
    frame::{CUT_LENGTH, Kind, RELEASE_LENGTH},
    ledger::Ledger,
    segment::{self, Header, Segment},
    spare::Spares,
    storage::Storage,
};

pub(super) struct Writer {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: Options,
    pub(super) log_id: String,
    pub(super) ledger: Ledger,
    /// No longer written to, oldest first.
    pub(super) closed: VecDeque<Segment>,
    /// `None` until the first append, and after a failed sync until a new segment works.
    pub(super) active: Option<Active>,
    pub(super) spares: Spares,
    /// After a failed step towards a spare: not again before the active segment has grown to this.
    pub(super) prepare_from: u64,
    /// Since the start, of records and of marks.
    pub(super) commits: u64,
}

impl Writer {
    pub(super) fn log_id(&self) -> &str {
        &self.log_id
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Confirmed segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Segment> {
        self.closed
            .iter()
            .copied()
            .chain(self.active.as_ref().map(|active| active.segment))
            .collect()
    }

    /// Bytes that are written and not released, headers included.
    pub(super) fn used(&self) -> u64 {
        self.segments().iter().map(|segment| segment.end).sum()
    }

    /// Makes a batch durable, in as few commits as it takes. One outcome for each payload.
    pub(super) fn append(
        &mut self,
        batch: &[Payload],
        now: u64,
    ) -> Vec<Result<Appended, NotRecorded>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut used = self.used();
        while let Some(payload) = batch.get(outcomes.len()) {
            let room = self
                .options
                .admit(payload, used)
                .and_then(|length| self.make_room(length, self.options.reserve()));
            match room {
                Ok(()) => {
                    outcomes.extend(self.append_some(&batch[outcomes.len()..], used, now));
                    used = self.used();
                }
                Err(refused @ (NotRecorded::Full { .. } | NotRecorded::TooLarge { .. })) => {
                    outcomes.push(Err(refused))
                }
                // The disk said no: asking once per record of the batch would make all of them wait.
                Err(failed) => outcomes.resize(batch.len(), Err(failed)),
            }
        }
        outcomes
    }

    /// Appends as many as fit one commit; the first is known to.
    fn append_some(
        &mut self,
        batch: &[Payload],
        used: u64,
        now: u64,
    ) -> Vec<Result<Appended, NotRecorded>> {
        let at = self.ledger.stamp(now);
        let mut lengths = Vec::new();
        for (payload, sequence) in batch.iter().zip(self.ledger.next_sequence..) {
            let staged = self.active().staged();
            let fits = self
                .options
                .admit(payload, used + staged)
                .is_ok_and(|length| self.fits(length));
            if !fits || staged >= LARGEST_COMMIT as u64 {
                break;
            }
            let digits = sequence.to_string();
            let parts = [&payload.before, digits.as_bytes(), &payload.after];
            lengths.push(self.active().stage(Kind::Record, sequence, at, &parts));
        }
        match self.commit() {
            Ok(()) => lengths
                .into_iter()
                .map(|length| Ok(self.confirm(length, at)))
                .collect(),
            Err(failed) => vec![Err(failed); lengths.len()],
        }
    }

    fn confirm(&mut self, length: u64, appended_at_micros: u64) -> Appended {
        let sequence = self.ledger.next_sequence;
        self.ledger.record(length, appended_at_micros);
        self.active().segment.last = sequence;
        Appended {
            sequence,
            appended_at_micros,
            bytes: length,
        }
    }

    /// Makes a durable mark after the last record; `None` if there is nothing to cut.
    pub(super) fn cut(&mut self, now: u64) -> Result<Option<Cut>, NotRecorded> {
        let Some(cut) = self.ledger.uncut() else {
            return Ok(None);
        };
        self.mark(Kind::Cut, CUT_LENGTH, &[cut.first, cut.last], now)?;
        self.ledger.cut(cut);
        Ok(Some(cut))
    }

    /// Gives up the records of whole cuts up to `through`. The mark is durable before the first
    /// segment goes, so a missing segment without one is damage.
    pub(super) fn release(&mut self, through: u64, now: u64) -> Result<(), NotRecorded> {
        let Some(through) = self.ledger.releasable(through) else {
            return Ok(());
        };
        self.mark(Kind::Release, RELEASE_LENGTH, &[through], now)?;
        self.ledger.release(through);
        self.recycle();
        Ok(())
    }

    fn mark(
        &mut self,
        kind: Kind,
        length: u64,
        numbers: &[u64],
        now: u64,
    ) -> Result<(), NotRecorded> {
        self.make_room(length, 0)?;
        let payload: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let (last, at) = (self.ledger.last(), self.ledger.stamp(now));
        self.active().stage(kind, last, at, &[&payload]);
        self.commit()
    }

    /// The last bytes of a segment belong to marks, unless a spare is ready: on a full disk a cut
    /// must still be possible, or nothing could ever be released.
    fn fits(&self, length: u64) -> bool {
        let reserve = if self.spares.is_ready() {
            0
        } else {
            self.options.reserve()
        };
        self.active
            .as_ref()
            .is_some_and(|active| active.room() >= length + reserve)
    }

    fn make_room(&mut self, length: u64, reserve: u64) -> Result<(), NotRecorded> {
        let room = self.active.as_ref().map_or(0, Active::room);
        if room >= length + reserve {
            return Ok(());
        }
        self.spares.complete().map_err(io_failed)?;
        if room >= length {
            return Ok(());
        }
        self.roll().map_err(io_failed)
    }

    fn active(&mut self) -> &mut Active {
        self.active
            .as_mut()
            .expect("make_room left an active segment")
    }

    fn commit(&mut self) -> Result<(), NotRecorded> {
        self.commits += 1;
        self.active().commit().inspect_err(|_| self.poison())
    }

    /// Linux drops the pages of a failed sync and lets the next one succeed, so what this segment
    /// holds after its last good sync is unknown for ever.
    fn poison(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        if active.is_empty() && !self.closed.is_empty() {
            // On a disk that keeps failing, the same file goes round.
            self.make_spares([active.segment]);
        } else {
            self.closed.push_back(active.segment);
        }
    }

    /// Puts a new segment in place of the active one.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        if let Some(active) = self.active.take() {
            self.closed.push_back(active.seal(&self.ledger).segment);
        }
        self.prepare_from = 0;
        let spare = self.spares.take()?;
        let header = Header {
            generation: self.spares.unused_number(),
            first: self.ledger.next_sequence,
            cut_through: self.ledger.cut_through,
            released: self.ledger.released,
            appended_at_micros: self.ledger.appended_at_micros,
            log_id: self.log_id.clone(),
        };
        let activated =
            Active::activate(&*self.storage, &spare, &header, self.options.segment_size);
        if activated.is_err() {
            self.spares.discard(&spare);
            self.spares.discard(&segment::name(header.generation));
        }
        self.active = Some(activated?);
        Ok(())
    }

    /// Makes spares of the segments that hold nothing unreleased. The newest stays in any case: it
    /// alone knows the id of the log and the next sequence.
    pub(super) fn recycle(&mut self) {
        let released = self.ledger.released;
        let candidates =
            self.closed.len() - usize::from(self.active.is_none()).min(self.closed.len());
        let unneeded = self
            .closed
            .iter()
            .take(candidates)
            .take_while(|segment| segment.last <= released)
            .count();
        let unneeded: Vec<_> = self.closed.drain(..unneeded).collect();
        if !unneeded.is_empty() {
            self.make_spares(unneeded);
        }
    }

    /// A file that cannot be renamed or removed stays: the next start tries again.
    fn make_spares(&mut self, segments: impl IntoIterator<Item = Segment>) {
        if let Err(error) = self.spares.recycle(segments) {
            tracing::warn!(%error, "released segments of the write-ahead log stay on disk until the next start");
        }
    }

    /// Works ahead: a step towards the next spare, if the active segment fills up faster.
    pub(super) fn prepare(&mut self) {
        let filled_to = self.active.as_ref().map_or(0, |active| active.segment.end);
        let wanted = (4 * filled_to).min(self.options.segment_size);
        if self.spares.filled() >= wanted || filled_to < self.prepare_from {
            return;
        }
        if self.spares.advance().is_err() {
            self.prepare_from = filled_to + self.options.segment_size / 16;
        }
    }

    /// Ends the log cleanly: from here on, any damage in it can be told from a torn tail.
    pub(super) fn close(mut self) {
        if let Some(active) = self.active.take() {
            active.seal(&self.ledger).shorten();
        }
    }
}

fn io_failed(error: io::Error) -> NotRecorded {
    NotRecorded::Io(Arc::new(error))
}
