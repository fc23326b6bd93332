//! Columns back to rows, in the canonical form they were encoded from.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::audit::schema::RECORD_DIGEST;

/// A row as it was appended: canonical names and values, absent where null.
pub type Row = Map<String, Value>;

/// A column has a type, or a value, that no version of the schema has.
#[derive(Debug, thiserror::Error)]
#[error("column {column} holds {what}, which no version of this schema has")]
pub struct UnknownColumn {
    column: String,
    what: String,
}

/// The rows of a batch with their recorded digests, where that column was read.
pub fn rows(
    batch: &RecordBatch,
) -> impl Iterator<Item = Result<(Row, Option<[u8; 32]>), UnknownColumn>> {
    let digests = batch
        .column_by_name(RECORD_DIGEST)
        .and_then(|column| column.as_fixed_size_binary_opt());
    (0..batch.num_rows()).map(move |index| {
        let digest = digests.and_then(|digests| digests.value(index).try_into().ok());
        Ok((row(batch, index)?, digest))
    })
}

fn row(batch: &RecordBatch, index: usize) -> Result<Row, UnknownColumn> {
    let schema = batch.schema_ref();
    let columns = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .zip(batch.columns());
    members(columns.filter(|(name, _)| *name != RECORD_DIGEST), index)
}

fn members<'a>(
    columns: impl Iterator<Item = (&'a str, &'a ArrayRef)>,
    index: usize,
) -> Result<Row, UnknownColumn> {
    let present = columns.filter(|(_, column)| column.is_valid(index));
    present
        .map(|(name, column)| Ok((name.to_owned(), value(name, column, index)?)))
        .collect()
}

fn value(name: &str, column: &ArrayRef, index: usize) -> Result<Value, UnknownColumn> {
    match column.data_type() {
        DataType::Utf8 => Ok(column.as_string::<i32>().value(index).into()),
        DataType::Int32 => Ok(column.as_primitive::<Int32Type>().value(index).into()),
        DataType::Int64 => Ok(column
            .as_primitive::<Int64Type>()
            .value(index)
            .to_string()
            .into()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => timestamp(
            name,
            column
                .as_primitive::<TimestampMicrosecondType>()
                .value(index),
        ),
        DataType::List(_) => elements(name, &column.as_list::<i32>().value(index)),
        DataType::Struct(fields) => {
            let names = fields.iter().map(|field| field.name().as_str());
            Ok(members(names.zip(column.as_struct().columns()), index)?.into())
        }
        DataType::Map(..) => entries(name, column, index),
        other => Err(unknown(name, &format!("{other}"))),
    }
}

fn timestamp(name: &str, micros: i64) -> Result<Value, UnknownColumn> {
    let time =
        Timestamp::from_microsecond(micros).map_err(|_| unknown(name, "a time out of range"))?;
    Ok(format!("{time:.6}").into())
}

fn elements(name: &str, list: &ArrayRef) -> Result<Value, UnknownColumn> {
    (0..list.len())
        .map(|index| value(name, list, index))
        .collect()
}

fn entries(name: &str, column: &ArrayRef, index: usize) -> Result<Value, UnknownColumn> {
    let entries = column.as_map().value(index);
    let (keys, values) = (entries.column(0), entries.column(1));
    let keys = keys
        .as_string_opt::<i32>()
        .ok_or_else(|| unknown(name, "keys that are no strings"))?;
    let pairs =
        (0..entries.len()).map(|at| Ok((keys.value(at).to_owned(), value(name, values, at)?)));
    Ok(pairs.collect::<Result<Row, _>>()?.into())
}

fn unknown(name: &str, what: &str) -> UnknownColumn {
    UnknownColumn {
        column: name.to_owned(),
        what: what.to_owned(),
    }
}
