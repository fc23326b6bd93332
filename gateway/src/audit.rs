//! The evidence: what is recorded, how it becomes durable, and how it is read back.

pub mod canonical;
pub mod parquet;
pub mod record;
pub mod schema;
pub mod store;
