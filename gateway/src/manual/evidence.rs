//! # Evidence
//!
//! One durable append is one record, one WAL payload, one Parquet row: the intent of a call
//! (`RequestReceived`) and its outcome (`ResponseComplete`), joined by `auditID`. The outcome's row is
//! complete in itself, so an analyst filters `stage = 'ResponseComplete'`; an intent without an outcome
//! is a call whose end is unknown, and `sallyport audit list` shows it so.
//!
//! The bytes that a record's digest covers are its canonical JSON ([`crate::audit::canonical`], with test
//! vectors), not the Parquet file: files may be compacted later and the digests still hold.
//!
//! A file is cut from the WAL by a mark that is itself durable, so a gateway that dies while it encodes
//! or stores makes the same file again, byte for byte; a file that exists already is success only if its
//! SHA-256 is the same.
//!
//! The record holds the masked view only. A body that cannot be masked is kept as content type, length
//! and keyed digest. Placeholders are keyed digests too: equal secrets are equal in the record, so that
//! "who saw this value" can be answered without the value.
//!
//! Not promised yet: checkpoints, proofs and `audit verify`. The digests, the sequence without gaps and
//! the log's identity, which those stand on, are in the files from the first version.
