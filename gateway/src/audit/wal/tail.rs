//! The end of a segment: what lies behind it, and the trailer that settles it.

use std::io;

use super::{
    frame::{self, Head, Kind, SEAL_LENGTH, Seed},
    ledger::Ledger,
    reader::Frames,
    storage::File,
};

/// The valid frames behind a mismatch.
#[derive(Default)]
pub(super) struct Behind {
    pub(super) frames: u64,
    /// The segment was durable up to this offset when one of them was written.
    pub(super) proven: u64,
    pub(super) sequence: u64,
}

impl Behind {
    pub(super) fn look(frames: &mut Frames, end: u64) -> io::Result<Self> {
        let mut behind = Self::default();
        let mut from = end;
        while let Some(parsed) = frames.find_after(from)? {
            behind.frames += 1;
            behind.proven = behind.proven.max(parsed.head.synced);
            behind.sequence = behind.sequence.max(parsed.head.sequence);
            from = parsed.offset;
        }
        Ok(behind)
    }
}

/// Writes again the frames that nothing proves durable, and syncs them.
///
/// The last process may have died between a write and its sync, or after a sync that failed and
/// left clean pages, which no later sync writes.
pub(super) fn rewrite(file: &dyn File, proven: u64, end: u64) -> io::Result<()> {
    let mut frames = vec![0; (end - proven) as usize];
    if file.read_at(&mut frames, proven)? < frames.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.write_at(&frames, proven)?;
    file.sync_data()
}

/// The frame that says: all before it was durable before it was written, and nothing follows.
pub(super) fn trailer(seed: Seed, end: u64, ledger: &Ledger) -> Vec<u8> {
    let head = Head {
        kind: Kind::Seal,
        sequence: ledger.last(),
        synced: end,
        appended_at_micros: ledger.appended_at_micros,
    };
    let mut bytes = Vec::with_capacity(SEAL_LENGTH as usize);
    frame::encode(&mut bytes, seed, end, head, &[]);
    bytes
}

/// Gives back the room behind the trailer; the new length, if that worked.
pub(super) fn shorten(file: &dyn File, end: u64) -> Option<u64> {
    let length = end + SEAL_LENGTH;
    let shortened = file.set_length(length).and_then(|()| file.sync_data());
    shortened.is_ok().then_some(length)
}
