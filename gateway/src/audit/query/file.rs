//! One sealed file: only the row groups that can matter, only the columns that are asked for.

use std::{
    cell::Cell,
    io,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
};

use ::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowPredicate, ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder, RowFilter,
        },
    },
    errors::ParquetError,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};
use arrow::{array::AsArray, error::ArrowError};
use jiff::{SignedDuration, Timestamp};

use super::Record;
use crate::audit::{
    parquet::rows::{UnknownColumn, rows},
    schema::BODIES,
    store::{Reader, listing::StoredFile},
};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

const BATCH_ROWS: usize = 512;
/// With bodies, of which each may be a MiB.
const WHOLE_BATCH_ROWS: usize = 16;

/// A clock that was set back may have dated a request later than its append.
const CLOCK_STEP: SignedDuration = SignedDuration::from_mins(5);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Columns {
    /// All but the bodies.
    Metadata,
    All,
}

/// A record with the digest that was stored beside it.
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) digest: Option<[u8; 32]>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot open the file")]
    Open(#[from] io::Error),
    #[error("cannot read the file")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("this is not a readable Parquet file")]
    Parquet(#[source] ParquetError),
    #[error("a part of this Parquet file is damaged")]
    Rows(#[from] ArrowError),
    #[error("this Parquet file is not one of calls")]
    Column(#[from] UnknownColumn),
    #[error("a part of this Parquet file is damaged in a way that its reader does not expect")]
    Panicked,
}

impl From<ParquetError> for FileError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => Self::Read(source),
            error => Self::Parquet(error),
        }
    }
}

/// When the calls that are asked for were received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Window {
    pub(super) fn new(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self { since, until }
    }

    pub(super) fn raise(&mut self, since: Option<Timestamp>) {
        self.since = self.since.max(since);
    }

    /// Only the lower end: an outcome may come long after its request, which its row repeats.
    pub(super) fn excludes_file(&self, file: &StoredFile) -> bool {
        let appended_before = file
            .appended_before
            .and_then(|end| end.checked_add(CLOCK_STEP).ok());
        appended_before
            .zip(self.since)
            .is_some_and(|(end, since)| end < since)
    }

    fn excludes_rows(&self, rows: &RowGroupMetaData) -> bool {
        let Some((min, max)) = received(rows) else {
            return false;
        };
        self.since.is_some_and(|since| max < since) || self.until.is_some_and(|until| min > until)
    }
}

/// Hands on the rows of a file up to the first that cannot be read, or that `visit` breaks off at.
pub(super) fn read(
    open: impl FnOnce() -> io::Result<Reader>,
    columns: Columns,
    window: &Window,
    visit: impl FnMut(Stored) -> ControlFlow<()>,
) -> Result<(), FileError> {
    contained(|| {
        let builder = builder(open()?)?;
        let groups = groups(&builder, |group| !window.excludes_rows(group));
        visit_rows(
            project(builder, columns).with_row_groups(groups).build()?,
            visit,
        )
    })
}

/// Hands on the rows of the row groups that may hold `audit_id`.
pub(super) fn read_call(
    open: impl FnOnce() -> io::Result<Reader>,
    audit_id: &str,
    mut visit: impl FnMut(Stored),
) -> Result<(), FileError> {
    contained(|| {
        let builder = builder(open()?)?;
        let groups = may_hold(&builder, audit_id)?;
        if groups.is_empty() {
            return Ok(());
        }
        let only = RowFilter::new(vec![Box::new(is_call(&builder, audit_id.to_owned()))]);
        visit_rows(
            builder
                .with_row_groups(groups)
                .with_row_filter(only)
                .with_batch_size(BATCH_ROWS)
                .build()?,
            |row| {
                visit(row);
                ControlFlow::Continue(())
            },
        )
    })
}

/// Whether this thread is inside a reader whose panics are reported as errors.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// The Parquet reader panics on some damage; evidence is what others may have damaged.
fn contained(read: impl FnOnce() -> Result<(), FileError>) -> Result<(), FileError> {
    CONTAINED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    CONTAINED.set(false);
    outcome.unwrap_or(Err(FileError::Panicked))
}

/// Read first, so that no other call's bodies are.
fn is_call(
    builder: &ParquetRecordBatchReaderBuilder<Reader>,
    audit_id: String,
) -> impl ArrowPredicate + use<> {
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["auditID"]);
    ArrowPredicateFn::new(mask, move |batch| {
        let ids = batch.column(0).as_string_opt::<i32>();
        let ids =
            ids.ok_or_else(|| ArrowError::SchemaError("auditID is not a string".to_owned()))?;
        Ok(ids
            .iter()
            .map(|id| Some(id == Some(audit_id.as_str())))
            .collect())
    })
}

fn builder(reader: Reader) -> Result<ParquetRecordBatchReaderBuilder<Reader>, FileError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    Ok(ParquetRecordBatchReaderBuilder::try_new_with_options(
        reader, options,
    )?)
}

fn project(
    builder: ParquetRecordBatchReaderBuilder<Reader>,
    columns: Columns,
) -> ParquetRecordBatchReaderBuilder<Reader> {
    let wanted = |name: &&str| columns == Columns::All || !BODIES.contains(name);
    let names: Vec<_> = builder
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .filter(wanted)
        .collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let rows = match columns {
        Columns::Metadata => BATCH_ROWS,
        Columns::All => WHOLE_BATCH_ROWS,
    };
    builder.with_projection(mask).with_batch_size(rows)
}

fn groups(
    builder: &ParquetRecordBatchReaderBuilder<Reader>,
    keep: impl Fn(&RowGroupMetaData) -> bool,
) -> Vec<usize> {
    let all = builder.metadata().row_groups().iter().enumerate();
    all.filter(|(_, group)| keep(group))
        .map(|(index, _)| index)
        .collect()
}

fn may_hold(
    builder: &ParquetRecordBatchReaderBuilder<Reader>,
    audit_id: &str,
) -> Result<Vec<usize>, FileError> {
    let leaves = builder.parquet_schema().columns();
    let Some(column) = leaves
        .iter()
        .position(|leaf| leaf.path().string() == "auditID")
    else {
        return Ok(Vec::new());
    };
    let mut groups = Vec::new();
    for group in 0..builder.metadata().num_row_groups() {
        let filter = builder.get_row_group_column_bloom_filter(group, column)?;
        if filter.is_none_or(|filter| filter.check(audit_id)) {
            groups.push(group);
        }
    }
    Ok(groups)
}

fn visit_rows(
    reader: ParquetRecordBatchReader,
    mut visit: impl FnMut(Stored) -> ControlFlow<()>,
) -> Result<(), FileError> {
    for batch in reader {
        for row in rows(&batch?) {
            let (row, digest) = row?;
            let record = Record(row);
            if visit(Stored { record, digest }).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn received(rows: &RowGroupMetaData) -> Option<(Timestamp, Timestamp)> {
    let mut columns = rows.columns().iter();
    let column =
        columns.find(|column| column.column_path().string() == "requestReceivedTimestamp")?;
    let Statistics::Int64(statistics) = column.statistics()? else {
        return None;
    };
    let time = |micros: Option<&i64>| Timestamp::from_microsecond(*micros?).ok();
    time(statistics.min_opt()).zip(time(statistics.max_opt()))
}
