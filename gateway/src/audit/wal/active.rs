//! The segment that is being written.

use std::{io, sync::Arc};

use super::{
    error::NotRecorded,
    frame::{self, Head, Kind, SEAL_LENGTH},
    ledger::Ledger,
    segment::{HEADER_LENGTH, Header, Segment},
    storage::{File, Storage},
    tail,
};

/// What a commit may hold in memory between two syncs.
pub(super) const LARGEST_COMMIT: usize = 4 << 20;

pub(super) struct Active {
    file: Box<dyn File>,
    /// What is confirmed.
    pub(super) segment: Segment,
    /// Frames of the commit being put together.
    staged: Vec<u8>,
}

impl Active {
    /// Makes a segment of a spare. The header is durable before the name, and the name before the
    /// first frame: so a segment whose header does not read is damaged, never half made.
    pub(super) fn activate(
        storage: &dyn Storage,
        spare: &str,
        header: &Header,
        size: u64,
    ) -> io::Result<Self> {
        let segment = Segment {
            generation: header.generation,
            seed: header.seed(),
            first: header.first,
            last: header.first - 1,
            end: HEADER_LENGTH,
            size,
        };
        let file = storage.open(spare)?;
        file.write_at(&header.encode(), 0)?;
        file.sync_data()?;
        storage.rename(spare, &segment.name())?;
        if !cfg!(sallyport_bug = "no-directory-sync") {
            storage.sync_directory()?;
        }
        Ok(Self {
            file,
            segment,
            staged: Vec::new(),
        })
    }

    /// Nothing in it was ever confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.segment.end == HEADER_LENGTH
    }

    pub(super) fn staged(&self) -> u64 {
        self.staged.len() as u64
    }

    /// What can still be staged; the trailer always fits.
    pub(super) fn room(&self) -> u64 {
        (self.segment.size - SEAL_LENGTH).saturating_sub(self.segment.end + self.staged())
    }

    /// Adds a frame to the next commit; returns its length.
    pub(super) fn stage(
        &mut self,
        kind: Kind,
        sequence: u64,
        appended_at_micros: u64,
        payload: &[&[u8]],
    ) -> u64 {
        let before = self.staged();
        let synced = self.segment.end;
        let head = Head {
            kind,
            sequence,
            synced,
            appended_at_micros,
        };
        frame::encode(
            &mut self.staged,
            self.segment.seed,
            synced + before,
            head,
            payload,
        );
        self.staged() - before
    }

    /// Writes and syncs what is staged. After a failure the segment must not be written again.
    pub(super) fn commit(&mut self) -> Result<(), NotRecorded> {
        write_durably(&*self.file, &self.staged, self.segment.end)?;
        self.segment.end += self.staged();
        self.staged.clear();
        self.staged.shrink_to(LARGEST_COMMIT);
        Ok(())
    }

    /// Writes the trailer. Should that fail, the next header still says where this segment ends.
    pub(super) fn seal(self, ledger: &Ledger) -> Closing {
        let end = self.segment.end;
        let trailer = tail::trailer(self.segment.seed, end, ledger);
        let sealed = write_durably(&*self.file, &trailer, end).is_ok();
        Closing {
            segment: self.segment,
            file: self.file,
            sealed,
        }
    }
}

/// A segment that takes no more frames.
pub(super) struct Closing {
    pub(super) segment: Segment,
    file: Box<dyn File>,
    sealed: bool,
}

impl Closing {
    /// Gives back the room behind the trailer. Without a trailer the length proves nothing, so it stays.
    pub(super) fn shorten(mut self) -> Segment {
        if self.sealed {
            let shorter = tail::shorten(&*self.file, self.segment.end);
            self.segment.size = shorter.unwrap_or(self.segment.size);
        }
        self.segment
    }
}

fn write_durably(file: &dyn File, bytes: &[u8], offset: u64) -> Result<(), NotRecorded> {
    file.write_at(bytes, offset)
        .map_err(|error| NotRecorded::Io(Arc::new(error)))?;
    if cfg!(sallyport_bug = "ack-before-sync") {
        return Ok(());
    }
    let mut synced = file.sync_data();
    if cfg!(sallyport_bug = "retry-after-failed-sync") {
        synced = synced.or_else(|_| file.sync_data());
    }
    synced.map_err(|error| NotRecorded::SyncFailed(Arc::new(error)))
}
