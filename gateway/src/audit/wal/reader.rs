//! Reading frames: one segment's, or one cut's.

use std::{io, sync::Arc};

use memchr::memmem;

use super::{
    Cut, Frame,
    error::{Corruption, ReadError},
    frame::{self, Kind, Parsed, Seed},
    segment::{HEADER_LENGTH, Header, Segment},
    storage::{File, Storage},
};

const WINDOW: usize = 256 << 10;

/// The frames of one segment, from its first to the first bytes that are not one.
pub(super) struct Frames {
    file: Box<dyn File>,
    seed: Seed,
    /// Where the next frame begins.
    offset: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Frames {
    pub(super) fn new(file: Box<dyn File>, seed: Seed, end: u64) -> Self {
        Self {
            file,
            seed,
            offset: HEADER_LENGTH,
            end,
            window: Vec::new(),
            window_at: 0,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_file(self) -> Box<dyn File> {
        self.file
    }

    /// The next frame; `None` at the first mismatch.
    pub(super) fn next(&mut self) -> io::Result<Option<Parsed>> {
        let parsed = self.at(self.offset)?;
        if let Some(parsed) = &parsed {
            self.offset = parsed.end();
        }
        Ok(parsed)
    }

    /// The next valid frame anywhere after `from`. Record payloads cannot make this slow: a mark
    /// follows a byte below 5, and canonical JSON holds no such byte.
    pub(super) fn find_after(&mut self, mut from: u64) -> io::Result<Option<Parsed>> {
        while let Some(place) = self.find_mark(from)? {
            if let Some(parsed) = self.at(place)? {
                return Ok(Some(parsed));
            }
            from = place;
        }
        Ok(None)
    }

    /// The first aligned place after `from` where a frame's mark is.
    fn find_mark(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut place = from + 1;
        while place + frame::OVERHEAD as u64 <= self.end {
            let wanted = self
                .held_from(place)
                .unwrap_or(WINDOW as u64)
                .min(self.end - place) as usize;
            let Some(bytes) = self.bytes(place, wanted)? else {
                return Ok(None);
            };
            let starts = memmem::find_iter(bytes, frame::mark())
                .filter_map(|at| Some(place + at.checked_sub(frame::MARK_AT)? as u64));
            let aligned = starts
                .into_iter()
                .find(|start| start % frame::ALIGNMENT == 0);
            if aligned.is_some() {
                return Ok(aligned);
            }
            place += (wanted - frame::OVERHEAD.min(wanted - 1)) as u64;
        }
        Ok(None)
    }

    /// How many bytes from `place` on need no read, if they are enough for a frame's head.
    fn held_from(&self, place: u64) -> Option<u64> {
        let held = (self.window_at + self.window.len() as u64).checked_sub(place)?;
        (place >= self.window_at && held >= frame::OVERHEAD as u64).then_some(held)
    }

    fn at(&mut self, offset: u64) -> io::Result<Option<Parsed>> {
        let Some(overhead) = self.bytes(offset, frame::OVERHEAD)? else {
            return Ok(None);
        };
        let Some(length) = frame::claimed_length(overhead) else {
            return Ok(None);
        };
        let seed = self.seed;
        let Some(bytes) = self.bytes(offset, length as usize)? else {
            return Ok(None);
        };
        Ok(frame::decode(bytes, seed, offset))
    }

    /// `None` beyond the end: a claimed length allocates nothing that the file does not have.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if offset + length as u64 > self.end {
            return Ok(None);
        }
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if !(held.contains(&offset) && offset + length as u64 <= held.end) {
            self.window.resize(
                (WINDOW.max(length) as u64).min(self.end - offset) as usize,
                0,
            );
            let count = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(count);
            self.window_at = offset;
        }
        let start = (offset - self.window_at) as usize;
        Ok(self.window.get(start..start + length))
    }
}

/// Reads a segment's header page; `None` if it is not one, or not that of this generation.
pub(super) fn read_header(file: &dyn File, generation: u64) -> io::Result<Option<Header>> {
    let mut page = vec![0; HEADER_LENGTH as usize];
    let count = file.read_at(&mut page, 0)?;
    Ok(Header::decode(&page[..count]).filter(|header| header.generation == generation))
}

/// The records of a cut, in order and without a gap. Ends after the first error.
pub struct Range {
    storage: Arc<dyn Storage>,
    segments: std::vec::IntoIter<Segment>,
    current: Option<(Segment, Frames)>,
    next: u64,
    last: u64,
}

impl Range {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        mut segments: Vec<Segment>,
        cut: Cut,
    ) -> Result<Self, ReadError> {
        segments.retain(|segment| {
            segment.first <= segment.last && segment.first <= cut.last && cut.first <= segment.last
        });
        if segments
            .first()
            .is_none_or(|oldest| oldest.first > cut.first)
        {
            return Err(ReadError::Released {
                sequence: cut.first,
            });
        }
        Ok(Self {
            storage,
            segments: segments.into_iter(),
            current: None,
            next: cut.first,
            last: cut.last,
        })
    }

    fn step(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            let Some((segment, frames)) = &mut self.current else {
                let Some(segment) = self.segments.next() else {
                    return Err(ReadError::Released {
                        sequence: self.next,
                    });
                };
                self.current = Some((segment, open(&*self.storage, segment)?));
                continue;
            };
            let name = segment.name();
            let parsed = frames.next().map_err(|source| ReadError::Io {
                path: name.clone(),
                source,
            })?;
            match parsed {
                None if segment.last >= self.next => {
                    return Err(damaged(segment, frames.offset(), self.next));
                }
                None => self.current = None,
                Some(parsed)
                    if parsed.head.kind != Kind::Record || parsed.head.sequence < self.next => {}
                Some(parsed) if parsed.head.sequence > segment.last => self.current = None,
                Some(parsed) if parsed.head.sequence == self.next => {
                    return Ok(Some(record(parsed)));
                }
                Some(parsed) => return Err(damaged(segment, parsed.offset, self.next)),
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let step = self.step().transpose();
        self.next = if matches!(step, Some(Ok(_))) {
            self.next + 1
        } else {
            self.last + 1
        };
        step
    }
}

fn open(storage: &dyn Storage, segment: Segment) -> Result<Frames, ReadError> {
    let path = segment.name();
    let io = |source| ReadError::Io {
        path: path.clone(),
        source,
    };
    let file = match storage.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::Released {
                sequence: segment.first,
            });
        }
        other => other.map_err(io)?,
    };
    Ok(Frames::new(file, segment.seed, segment.end))
}

fn damaged(segment: &Segment, offset: u64, missing: u64) -> ReadError {
    ReadError::Corrupt(Corruption {
        segment: segment.name(),
        offset,
        first_missing: missing,
        last_missing: segment.last,
    })
}

pub(super) fn record(parsed: Parsed) -> Frame {
    Frame {
        sequence: parsed.head.sequence,
        appended_at_micros: parsed.head.appended_at_micros,
        payload: parsed.payload,
    }
}
