//! Finding out, after any end of the last process, what the log holds.
//!
//! The rules are in the head of [`super`]: a mismatch ends a segment; what lies behind it decides
//! whether that was a torn tail or damage.

use std::{io, sync::Arc};

use super::{
    Cut, Recovery, TornTail,
    error::{Corruption, OpenError},
    frame::{Kind, Parsed},
    ledger::Ledger,
    reader::{self, Frames},
    segment::{self, HEADER_LENGTH, Header, Segment},
    storage::{File, Storage},
    tail::{self, Behind},
};

/// What was found on disk, made durable.
pub(super) struct Recovered {
    pub(super) log_id: String,
    /// Of the newest segment.
    pub(super) generation: u64,
    pub(super) ledger: Ledger,
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    pub(super) report: Recovery,
}

/// The numbers of the spares in the directory, and the log if there is one.
pub(super) fn recover(
    storage: &Arc<dyn Storage>,
) -> Result<(Vec<u64>, Option<Recovered>), OpenError> {
    // The last process may have died before its sync: what is listed must also be durable, or a
    // spare that is about to be written could come back as the segment that it was.
    let names = storage.sync_directory().and_then(|()| storage.list());
    let names = names.map_err(|source| io_error("the directory", source))?;
    let numbers = |suffix: &str| {
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::number(name, suffix))
            .collect();
        numbers.sort_unstable();
        numbers
    };
    let generations = numbers(".wal");
    let log = if generations.is_empty() {
        None
    } else {
        Some(Walk::new(&**storage).walk(&generations)?)
    };
    Ok((numbers(".spare"), log))
}

struct Walk<'a> {
    storage: &'a dyn Storage,
    ledger: Ledger,
    segments: Vec<Segment>,
    /// Missing records that are no loss if they turn out to be released.
    gap: Option<Corruption>,
    torn: Option<TornTail>,
}

impl<'a> Walk<'a> {
    fn new(storage: &'a dyn Storage) -> Self {
        Self {
            storage,
            ledger: Ledger::new(),
            segments: Vec::new(),
            gap: None,
            torn: None,
        }
    }

    fn walk(mut self, generations: &[u64]) -> Result<Recovered, OpenError> {
        let opened: Vec<_> = generations
            .iter()
            .map(|generation| open(self.storage, *generation))
            .collect::<Result<_, _>>()?;
        let headers: Vec<Header> = opened.iter().map(|(header, _)| header.clone()).collect();
        for (index, (header, file)) in opened.into_iter().enumerate() {
            if header.log_id != headers[0].log_id {
                let (segment, log_id) = (segment::name(header.generation), header.log_id);
                return Err(OpenError::OtherLog { segment, log_id });
            }
            self.enter(&header);
            match headers.get(index + 1) {
                Some(next) => self
                    .read_closed(&header, file, next)
                    .map_err(|source| named(&header, source))?,
                None => self.read_newest(&header, file)?,
            }
        }
        self.finish(headers)
    }

    /// Goes on with a segment. If it does not begin where the last one ended, all before it must
    /// turn out to be released.
    fn enter(&mut self, header: &Header) {
        let follows = header.first == self.ledger.next_sequence;
        if !follows || header.cut_through != self.ledger.cut_through {
            if follows {
                self.note_gap(header, 0, self.ledger.cut_through + 1, header.cut_through);
            } else {
                self.note_gap(header, 0, self.ledger.next_sequence, header.first - 1);
            }
            self.ledger.adopt(header);
        }
        self.ledger.release(header.released);
        self.ledger.appended_at_micros = self
            .ledger
            .appended_at_micros
            .max(header.appended_at_micros);
    }

    /// The gap that reaches furthest decides; of equal ones the first names the place of the damage.
    fn note_gap(&mut self, header: &Header, offset: u64, first_missing: u64, last_missing: u64) {
        if self
            .gap
            .as_ref()
            .is_none_or(|gap| gap.last_missing < last_missing)
        {
            let segment = segment::name(header.generation);
            self.gap = Some(Corruption {
                segment,
                offset,
                first_missing,
                last_missing,
            });
        }
    }

    /// A segment with a successor: the successor's header says where it ends.
    fn read_closed(
        &mut self,
        header: &Header,
        file: Box<dyn File>,
        next: &Header,
    ) -> io::Result<()> {
        let size = file.length()?;
        let mut frames = Frames::new(file, header.seed(), size);
        let mut end = HEADER_LENGTH;
        while let Some(parsed) = frames.next()? {
            let superseded = match parsed.head.kind {
                Kind::Record => parsed.head.sequence >= next.first,
                Kind::Cut => parsed.number(1).is_none_or(|last| last > next.cut_through),
                Kind::Release => parsed
                    .number(0)
                    .is_none_or(|through| through > next.released),
                Kind::Seal => break,
            };
            if superseded || !self.apply(&parsed) {
                break;
            }
            end = parsed.end();
        }
        if self.ledger.next_sequence < next.first {
            self.note_gap(header, end, self.ledger.next_sequence, next.first - 1);
        } else if self.ledger.cut_through < next.cut_through {
            self.note_gap(header, end, self.ledger.cut_through + 1, next.cut_through);
        }
        self.push(header, end, size);
        Ok(())
    }

    /// The newest segment: what lies behind the first mismatch says whether something is missing.
    fn read_newest(&mut self, header: &Header, file: Box<dyn File>) -> Result<(), OpenError> {
        let io = |source| named(header, source);
        let size = file.length().map_err(io)?;
        let mut frames = Frames::new(file, header.seed(), size);
        let (mut end, mut proven) = (HEADER_LENGTH, HEADER_LENGTH);
        while let Some(parsed) = frames.next().map_err(io)? {
            proven = proven.max(parsed.head.synced);
            if parsed.head.kind == Kind::Seal {
                self.push(header, end, size);
                return Ok(());
            }
            if !self.apply(&parsed) {
                break;
            }
            end = parsed.end();
        }
        let behind = Behind::look(&mut frames, end).map_err(io)?;
        if proven.max(behind.proven) > end {
            let next = self.ledger.next_sequence;
            return Err(OpenError::Corrupt(Corruption {
                segment: segment::name(header.generation),
                offset: end,
                first_missing: next,
                last_missing: behind.sequence.max(next),
            }));
        }
        if behind.frames > 0 {
            self.torn = Some(TornTail {
                segment: segment::name(header.generation),
                offset: end,
                frames: behind.frames,
            });
        }
        let file = frames.into_file();
        tail::rewrite(&*file, proven, end).map_err(io)?;
        let trailer = tail::trailer(header.seed(), end, &self.ledger);
        file.write_at(&trailer, end)
            .and_then(|()| file.sync_data())
            .map_err(io)?;
        self.push(header, end, tail::shorten(&*file, end).unwrap_or(size));
        Ok(())
    }

    /// False if the frame does not follow from what was read before it.
    fn apply(&mut self, parsed: &Parsed) -> bool {
        match parsed.head.kind {
            Kind::Record if parsed.head.sequence == self.ledger.next_sequence => {
                self.ledger
                    .record(parsed.length, parsed.head.appended_at_micros);
                true
            }
            Kind::Cut => match (parsed.number(0), parsed.number(1)) {
                (Some(first), Some(last)) if self.ledger.uncut() == Some(Cut { first, last }) => {
                    self.ledger.cut(Cut { first, last });
                    true
                }
                _ => false,
            },
            Kind::Release => match parsed.number(0) {
                Some(through) if through <= self.ledger.cut_through => {
                    self.ledger.release(through);
                    true
                }
                _ => false,
            },
            Kind::Record | Kind::Seal => false,
        }
    }

    fn push(&mut self, header: &Header, end: u64, size: u64) {
        self.segments.push(Segment {
            generation: header.generation,
            seed: header.seed(),
            first: header.first,
            last: self.ledger.last(),
            end,
            size,
        });
    }

    fn finish(self, headers: Vec<Header>) -> Result<Recovered, OpenError> {
        let released = self.ledger.released;
        if let Some(gap) = self.gap.filter(|gap| gap.last_missing > released) {
            return Err(OpenError::Corrupt(gap));
        }
        let newest = headers
            .into_iter()
            .next_back()
            .expect("a walk has at least one segment");
        let report = Recovery {
            log_id: newest.log_id.clone(),
            created: false,
            last_sequence: self.ledger.last(),
            torn_tail: self.torn,
            pending_cuts: self.ledger.pending.iter().map(|(cut, _)| *cut).collect(),
        };
        Ok(Recovered {
            log_id: newest.log_id,
            generation: newest.generation,
            ledger: self.ledger,
            segments: self.segments,
            report,
        })
    }
}

fn open(storage: &dyn Storage, generation: u64) -> Result<(Header, Box<dyn File>), OpenError> {
    let name = segment::name(generation);
    let file = storage
        .open(&name)
        .map_err(|source| io_error(&name, source))?;
    let header =
        reader::read_header(&*file, generation).map_err(|source| io_error(&name, source))?;
    match header {
        Some(header) => Ok((header, file)),
        None => Err(OpenError::UnreadableHeader { segment: name }),
    }
}

fn named(header: &Header, source: io::Error) -> OpenError {
    io_error(&segment::name(header.generation), source)
}

pub(super) fn io_error(path: &str, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}
