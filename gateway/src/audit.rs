//! The evidence: what is recorded, how it becomes durable, and how it is read back.

pub mod record;
pub mod wal;
