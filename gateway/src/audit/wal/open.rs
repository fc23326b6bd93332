//! Taking a log into use: the one that is there, or a new one.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Options, Recovery,
    error::OpenError,
    ledger::Ledger,
    recover::{self, Recovered},
    segment,
    spare::Spares,
    storage::Storage,
    writer::Writer,
};

impl Writer {
    /// Recovers the log in `storage`, or makes a new one and lets its first segment be durable.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        now: u64,
    ) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let (spares, found) = recover::recover(&storage)?;
        match found {
            Some(found) => Ok(Self::resume(storage, options, &spares, found)),
            None => Self::create(storage, options, &spares, now),
        }
    }

    fn resume(
        storage: Arc<dyn Storage>,
        options: Options,
        spares: &[u64],
        found: Recovered,
    ) -> (Self, Recovery) {
        let spares = Spares::adopt(
            Arc::clone(&storage),
            options.segment_size,
            spares,
            found.generation,
        );
        let mut writer = Self {
            log_id: found.log_id,
            ledger: found.ledger,
            closed: found.segments.into(),
            ..Self::empty(storage, options, spares)
        };
        writer.recycle();
        // The first record should not wait for 64 MiB of zeros.
        if let Err(error) = writer.spares.complete() {
            tracing::warn!(%error, "the write-ahead log has no room for its next segment");
        }
        (writer, found.report)
    }

    fn create(
        storage: Arc<dyn Storage>,
        options: Options,
        spares: &[u64],
        now: u64,
    ) -> Result<(Self, Recovery), OpenError> {
        // Another log's frames must not be taken for ours, not even if it had the same id.
        for number in spares {
            let name = segment::spare_name(*number);
            storage
                .remove(&name)
                .map_err(|source| recover::io_error(&name, source))?;
        }
        let spares = Spares::adopt(Arc::clone(&storage), options.segment_size, &[], 0);
        let mut writer = Self::empty(storage, options, spares);
        writer.ledger.appended_at_micros = now;
        writer
            .roll()
            .map_err(|source| recover::io_error("the first segment", source))?;
        let report = Recovery {
            log_id: writer.log_id.clone(),
            created: true,
            ..Recovery::default()
        };
        Ok((writer, report))
    }

    fn empty(storage: Arc<dyn Storage>, options: Options, spares: Spares) -> Self {
        Self {
            storage,
            log_id: options
                .log_id
                .clone()
                .unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
            options,
            ledger: Ledger::new(),
            closed: VecDeque::new(),
            active: None,
            spares,
            prepare_from: 0,
            commits: 0,
        }
    }
}
