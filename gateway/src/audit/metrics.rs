//! How full the log is and how far shipping has come, read anew at each scrape.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use tokio::sync::watch;

use super::{log::Log, ship::Status};

/// The metrics of one log.
pub struct LogMetrics {
    log: Log,
    shipping: watch::Receiver<Status>,
}

impl LogMetrics {
    pub fn new(log: Log, shipping: watch::Receiver<Status>) -> Self {
        Self { log, shipping }
    }
}

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = self.log.usage();
        let shipping = self.shipping.borrow().clone();
        let gauges = [
            (
                "wal_used_bytes",
                "Bytes of the write-ahead log that wait for the store.",
                usage.used,
            ),
            (
                "wal_limit_bytes",
                "The configured size of the write-ahead log; nothing is forwarded once 95 % of it is used, outcomes are taken up to all of it.",
                usage.limit,
            ),
            (
                "wal_failing",
                "1 while records cannot be made durable and nothing is forwarded, else 0.",
                u64::from(usage.failing),
            ),
            (
                "wal_last_sequence",
                "The sequence number of the newest record.",
                usage.last_sequence,
            ),
            (
                "store_pending_files",
                "Files that are cut from the write-ahead log but not in the store yet.",
                shipping.pending_cuts as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let full_in = shipping
            .full_in
            .map_or(f64::INFINITY, |full_in| full_in.as_secs_f64());
        let full_in = ConstGauge::new(full_in);
        full_in.encode(encoder.encode_descriptor(
            "wal_full_seconds",
            "Seconds until nothing is forwarded because the write-ahead log is full, if files wait for the store as in the last minutes; +Inf while the log does not grow.",
            None,
            full_in.metric_type(),
        )?)?;
        let counters = [
            (
                "wal_commits",
                "Writes to the write-ahead log since the start, each with one fdatasync for all records that waited.",
                usage.commits,
            ),
            (
                "store_files",
                "Parquet files written to the store since the start.",
                shipping.files_written,
            ),
            (
                "store_failures",
                "Attempts to write a file to the store that failed.",
                shipping.failures,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for LogMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMetrics").finish_non_exhaustive()
    }
}
