//! The evidence: what is recorded, how it becomes durable, and how it is read back.

pub mod canonical;
pub mod log;
pub mod metrics;
pub mod parquet;
pub mod policies;
pub mod query;
pub mod record;
pub mod schema;
pub mod ship;
pub mod store;
pub mod wal;
