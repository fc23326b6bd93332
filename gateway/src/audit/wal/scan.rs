//! Reading all of a log that another process is writing.

use std::{io, path::Path};

use super::{
    Frame,
    error::{Corruption, ReadError},
    frame::Kind,
    reader::{self, Frames},
    segment::{self, Header},
    storage::{FileSystem, Storage},
};

/// The id and the records of a log, oldest first. Ends after the first error.
pub struct Scan {
    storage: FileSystem,
    log_id: Option<String>,
    segments: std::vec::IntoIter<Found>,
    current: Option<Found>,
}

struct Found {
    generation: u64,
    frames: Frames,
    next: u64,
    /// Records from here on are in the next segment; `None` in the newest.
    bound: Option<u64>,
}

/// Reads a log without its lock, also while the gateway appends to it.
///
/// It ends at the last valid frame, so a record may be seen a moment before it is acknowledged,
/// and even if it then is not. Segments that are recycled meanwhile are passed over: their records
/// are in the store.
pub fn scan(directory: &Path) -> Result<Scan, ReadError> {
    let storage = FileSystem::unlocked(directory);
    find_all(&storage)
        .map(|(log_id, found)| Scan {
            storage,
            log_id,
            segments: found.into_iter(),
            current: None,
        })
        .map_err(|source| ReadError::Io {
            path: directory.display().to_string(),
            source,
        })
}

fn find_all(storage: &FileSystem) -> io::Result<(Option<String>, Vec<Found>)> {
    let mut generations: Vec<u64> = storage
        .list()?
        .iter()
        .filter_map(|name| segment::number(name, ".wal"))
        .collect();
    generations.sort_unstable();
    let mut log_id = None;
    let mut all: Vec<Found> = Vec::new();
    for generation in generations {
        let Some((header, frames)) = find(storage, generation)? else {
            continue;
        };
        if let Some(previous) = all.last_mut() {
            previous.bound = Some(header.first);
        }
        all.push(Found {
            generation,
            frames,
            next: header.first,
            bound: None,
        });
        log_id = Some(header.log_id);
    }
    Ok((log_id, all))
}

/// `None` if the segment was recycled since the directory was read.
fn find(storage: &FileSystem, generation: u64) -> io::Result<Option<(Header, Frames)>> {
    let file = match storage.open(&segment::name(generation)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Some(header) = reader::read_header(&*file, generation)? else {
        return Ok(None);
    };
    let (end, seed) = (file.length()?, header.seed());
    Ok(Some((header, Frames::new(file, seed, end))))
}

impl Scan {
    /// `None` if there is no log yet.
    pub fn log_id(&self) -> Option<&str> {
        self.log_id.as_deref()
    }

    fn step(&mut self) -> Result<Option<Frame>, ReadError> {
        while let Some(mut found) = self.current.take().or_else(|| self.segments.next()) {
            if let Some(frame) = found.next_record().map_err(|source| found.io(source))? {
                self.current = Some(found);
                return Ok(Some(frame));
            }
            self.check_end(&found)?;
        }
        Ok(None)
    }

    /// A segment that ends early is damaged, unless it was recycled meanwhile. Recycling goes from
    /// the oldest on, so a later one that was missing from the start means that this one is gone now.
    fn check_end(&self, found: &Found) -> Result<(), ReadError> {
        let Some(bound) = found.bound.filter(|bound| found.next < *bound) else {
            return Ok(());
        };
        let name = segment::name(found.generation);
        if self.storage.open(&name).is_err() {
            return Ok(());
        }
        Err(ReadError::Corrupt(Corruption {
            segment: name,
            offset: found.frames.offset(),
            first_missing: found.next,
            last_missing: bound - 1,
        }))
    }
}

impl Found {
    fn next_record(&mut self) -> io::Result<Option<Frame>> {
        while let Some(parsed) = self.frames.next()? {
            match parsed.head.kind {
                Kind::Seal => break,
                Kind::Cut | Kind::Release => {}
                Kind::Record if parsed.head.sequence != self.next => break,
                Kind::Record if self.bound.is_some_and(|bound| self.next >= bound) => break,
                Kind::Record => {
                    self.next += 1;
                    return Ok(Some(reader::record(parsed)));
                }
            }
        }
        Ok(None)
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            path: segment::name(self.generation),
            source,
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            (self.current, self.segments) = (None, Vec::new().into_iter());
        }
        step.transpose()
    }
}
