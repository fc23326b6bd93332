//! One range of the log as one Parquet file.
//!
//! The same records give the same bytes: a file that was written but not yet released from the log is
//! encoded again after a crash, and must then be the same file. So nothing in it depends on the time, the
//! host or the release of the libraries' names.

use std::sync::Arc;

use ::parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
};
use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryBuilder, RecordBatch},
    datatypes::Int64Type,
    error::ArrowError,
};

use crate::audit::{
    canonical,
    record::SCHEMA_VERSION,
    schema::{self, BODIES, RECORD_DIGEST},
};

pub use self::reader::NotARow;
use self::{columns::Columns, reader::Reader};

mod columns;
mod reader;
pub mod rows;

const MAX_ROW_GROUP_ROWS: usize = 122_880;
const MAX_ROW_GROUP_BYTES: usize = 64 << 20;

/// Rows and bytes that are decoded at once; Arrow's string columns end at 2 GiB.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 16 << 20;

/// Min and max of long strings are cut to this.
const STATISTICS_BYTES: usize = 64;

/// Which records a file holds.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Range {
    pub log_id: String,
    pub first: u64,
    pub last: u64,
}

/// The range is not what the log says, or a record cannot become a row.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("record {sequence} is not a row of schema version {SCHEMA_VERSION}")]
    NotARow {
        sequence: u64,
        #[source]
        source: NotARow,
    },
    #[error("record {sequence} is cut short or holds more than one row")]
    NotOneRow { sequence: u64 },
    #[error("expected record {expected}, found record {found}")]
    OutOfOrder { expected: u64, found: String },
    #[error("cannot encode the rows")]
    Parquet(#[from] ParquetError),
    #[error("cannot assemble the rows")]
    Columns(#[from] ArrowError),
}

/// Encodes the records of `range`, given one by one in order.
pub struct Encoder {
    range: Range,
    next: u64,
    columns: Columns,
    digests: Vec<[u8; 32]>,
    bytes: usize,
    writer: ArrowWriter<Vec<u8>>,
}

impl Encoder {
    pub fn new(range: Range) -> Result<Self, EncodeError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&range))
            .with_skip_arrow_metadata(true);
        Ok(Self {
            next: range.first,
            columns: Columns::new(schema::canonical().fields()),
            digests: Vec::with_capacity(BATCH_ROWS),
            bytes: 0,
            writer: ArrowWriter::try_new_with_options(Vec::new(), schema::calls(), options)?,
            range,
        })
    }

    /// Adds the next record by its canonical bytes.
    pub fn add(&mut self, sequence: u64, canonical: &[u8]) -> Result<(), EncodeError> {
        self.expect_next(sequence)?;
        self.decode(sequence, canonical)?;
        self.digests.push(canonical::digest(canonical));
        self.bytes += canonical.len();
        self.next += 1;
        if self.digests.len() == BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        if self.next != self.range.last + 1 {
            return Err(self.out_of_order("the end of the range"));
        }
        self.write_batch()?;
        Ok(self.writer.into_inner()?)
    }

    fn expect_next(&self, sequence: u64) -> Result<(), EncodeError> {
        if sequence == self.next && sequence <= self.range.last {
            return Ok(());
        }
        Err(self.out_of_order(&sequence.to_string()))
    }

    fn out_of_order(&self, found: &str) -> EncodeError {
        EncodeError::OutOfOrder {
            expected: self.next,
            found: found.to_owned(),
        }
    }

    fn decode(&mut self, sequence: u64, canonical: &[u8]) -> Result<(), EncodeError> {
        let mut reader = Reader::new(canonical);
        match self.columns.read(&mut reader) {
            Ok(()) if reader.is_at_end() => Ok(()),
            Ok(()) | Err(NotARow::Cut) => Err(EncodeError::NotOneRow { sequence }),
            Err(source) => Err(EncodeError::NotARow { sequence, source }),
        }
    }

    fn write_batch(&mut self) -> Result<(), EncodeError> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let first = self.next - self.digests.len() as u64;
        let rows = with_digests(self.columns.finish()?, &self.digests)?;
        check_sequences(&rows, first)?;
        self.writer.write(&rows)?;
        self.digests.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// A row must carry the sequence that the log filed it under.
fn check_sequences(rows: &RecordBatch, first: u64) -> Result<(), EncodeError> {
    let sequences = rows
        .column_by_name("sequence")
        .expect("the schema has the column")
        .as_primitive::<Int64Type>();
    for (expected, &found) in (first..).zip(sequences.values()) {
        if i64::try_from(expected) != Ok(found) {
            return Err(EncodeError::OutOfOrder {
                expected,
                found: found.to_string(),
            });
        }
    }
    Ok(())
}

fn with_digests(
    mut columns: Vec<ArrayRef>,
    digests: &[[u8; 32]],
) -> Result<RecordBatch, ArrowError> {
    let mut column = FixedSizeBinaryBuilder::with_capacity(digests.len(), 32);
    digests
        .iter()
        .try_for_each(|digest| column.append_value(digest))?;
    let at = schema::calls().index_of(RECORD_DIGEST)?;
    columns.insert(at, Arc::new(column.finish()));
    RecordBatch::try_new(schema::calls(), columns)
}

fn properties(range: &Range) -> WriterProperties {
    let rows = range.last - range.first + 1;
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("sallyport version {SCHEMA_VERSION}"))
        .set_key_value_metadata(Some(file_metadata(range)))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES));
    for name in ["auditID", "sessionID"] {
        properties = searchable(properties, name, rows);
    }
    for name in BODIES
        .into_iter()
        .chain([RECORD_DIGEST, "requestDigest", "responseDigest"])
    {
        properties = incomparable(properties, name);
    }
    properties
        .set_column_dictionary_enabled(ColumnPath::from("auditID"), false)
        .build()
}

fn file_metadata(range: &Range) -> Vec<KeyValue> {
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    vec![
        entry("schemaVersion", SCHEMA_VERSION.to_string()),
        entry("logID", range.log_id.clone()),
        entry("first", range.first.to_string()),
        entry("last", range.last.to_string()),
    ]
}

/// A bloom filter is sized for the rows there are: the default of a million makes small files large.
fn searchable(
    properties: WriterPropertiesBuilder,
    name: &str,
    rows: u64,
) -> WriterPropertiesBuilder {
    properties
        .set_column_bloom_filter_enabled(ColumnPath::from(name), true)
        .set_column_bloom_filter_max_ndv(ColumnPath::from(name), rows)
}

/// Nobody asks for a range of bodies or digests, and no two are the same.
fn incomparable(properties: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    properties
        .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None)
        .set_column_dictionary_enabled(ColumnPath::from(name), false)
}

#[cfg(test)]
mod tests;
