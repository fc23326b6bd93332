//! What can go wrong, named for what it means to the caller.

use std::{io, path::PathBuf, sync::Arc};

/// The record is not durable and the call it belongs to must not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotRecorded {
    #[error(
        "the write-ahead log is full ({used} of {limit} bytes): calls are refused until recorded ones \
         reach the store; check that the store can be written, or raise recording.wal.limit"
    )]
    Full { used: u64, limit: u64 },
    /// Whether the bytes reached the disk is unknown, so the segment is not used again.
    #[error(
        "the disk did not confirm the record; the next one goes to a new segment; check the disk of the write-ahead log"
    )]
    SyncFailed(#[source] Arc<io::Error>),
    /// Also no space left on the device: the next record tries again.
    #[error(
        "the write-ahead log cannot be written; it tries again with the next record; check space and health of its disk"
    )]
    Io(#[source] Arc<io::Error>),
    #[error(
        "a record of {size} bytes does not fit a segment of the write-ahead log (at most {limit}); raise recording.wal.segmentSize"
    )]
    TooLarge { size: u64, limit: u64 },
    #[error("the write-ahead log is closed: the gateway is shutting down")]
    Closed,
}

/// The log cannot be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another process; stop that one, or give this one a directory of its own", directory.display())]
    Locked { directory: PathBuf },
    #[error("{path} cannot be used for the write-ahead log; check its path, owner and disk")]
    Io { path: String, source: io::Error },
    #[error(
        "the write-ahead log is damaged; keep the directory as evidence and move it aside, a new log then starts in its place"
    )]
    Corrupt(#[source] Corruption),
    /// A header is durable before its file is a segment, so this too is damage.
    #[error(
        "{segment} has no valid header: the write-ahead log is damaged; keep the directory as evidence \
         and move it aside, a new log then starts in its place"
    )]
    UnreadableHeader { segment: String },
    #[error("{segment} belongs to the other log {log_id}; move it out of the directory")]
    OtherLog { segment: String, log_id: String },
    #[error("{what}: {value} is not usable; {remedy}")]
    Options {
        what: &'static str,
        value: String,
        remedy: &'static str,
    },
}

/// Records are missing that were once durable: a crash does not do this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{segment} is not readable at byte {offset}: records {first_missing} to {last_missing} were durable and are missing"
)]
pub struct Corruption {
    pub segment: String,
    pub offset: u64,
    pub first_missing: u64,
    pub last_missing: u64,
}

/// Recorded calls could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path} cannot be read; check its owner and disk")]
    Io { path: String, source: io::Error },
    #[error("the write-ahead log is damaged; `sallyport audit verify` tells what is missing")]
    Corrupt(#[source] Corruption),
    /// Released while it was being read: the same records are in the store by now.
    #[error("record {sequence} has left the write-ahead log; read it from the store")]
    Released { sequence: u64 },
}
