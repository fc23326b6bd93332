//! Sizes, and what follows from them.

use super::{
    Headroom, Payload,
    error::{NotRecorded, OpenError},
    frame::{self, ALIGNMENT, SEAL_LENGTH},
    segment::{HEADER_LENGTH, LONGEST_ID},
};

/// In decimal digits.
const LONGEST_SEQUENCE: usize = 20;

/// How large the log and its parts may be. What a record needs of a segment is for those to know
/// who make records: here 16 KiB are enough.
#[derive(Clone, Debug)]
pub struct Options {
    pub segment_size: u64,
    /// Of the bytes in unreleased segments.
    pub limit: u64,
    /// Payload bytes that may be queued or in flight; callers wait beyond it.
    pub queue_bytes: usize,
    /// For a log that does not exist yet; a new UUIDv7 if absent.
    pub log_id: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            limit: 10 << 30,
            queue_bytes: 16 << 20,
            log_id: None,
        }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |what, value, remedy| {
            Err(OpenError::Options {
                what,
                value,
                remedy,
            })
        };
        if !(4 * HEADER_LENGTH..1 << 32).contains(&self.segment_size)
            || !self.segment_size.is_multiple_of(HEADER_LENGTH)
        {
            let remedy = "choose a multiple of 4 KiB from 16 KiB to below 4 GiB";
            return refuse(
                "recording.wal.segmentSize",
                self.segment_size.to_string(),
                remedy,
            );
        }
        if self.limit / 4 < self.segment_size {
            let remedy = "choose at least four times recording.wal.segmentSize";
            return refuse("recording.wal.limit", self.limit.to_string(), remedy);
        }
        match &self.log_id {
            Some(id) if id.is_empty() || id.len() > LONGEST_ID => {
                refuse("the log id", id.clone(), "choose one of 1 to 64 bytes")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn warn_at(&self) -> u64 {
        self.limit / 100 * 70
    }

    pub(super) fn refuse_at(&self, headroom: Headroom) -> u64 {
        match headroom {
            Headroom::Spare => self.limit / 100 * 95,
            Headroom::Use => self.limit,
        }
    }

    /// Kept for marks at the end of a segment that has no successor yet.
    pub(super) fn reserve(&self) -> u64 {
        (self.segment_size / 16)
            .min(1 << 20)
            .next_multiple_of(ALIGNMENT)
    }

    /// Without the sequence.
    pub(super) fn largest_payload(&self) -> usize {
        self.largest_frame() as usize - frame::OVERHEAD - LONGEST_SEQUENCE
    }

    fn largest_frame(&self) -> u64 {
        self.segment_size - HEADER_LENGTH - SEAL_LENGTH - self.reserve()
    }

    /// The record's length on disk, if it may be written when this much is used.
    pub(super) fn admit(&self, payload: &Payload, used: u64) -> Result<u64, NotRecorded> {
        let size = (payload.before.len() + payload.after.len() + LONGEST_SEQUENCE) as u64;
        let (length, limit) = (frame::padded(size), self.largest_frame());
        if length > limit {
            let limit = limit - frame::OVERHEAD as u64;
            return Err(NotRecorded::TooLarge { size, limit });
        }
        if used + length > self.refuse_at(payload.headroom) {
            return Err(NotRecorded::Full {
                used,
                limit: self.limit,
            });
        }
        Ok(length)
    }
}
