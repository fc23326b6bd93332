//! The canonical bytes of a row: what is hashed, signed and stored in the log.
//!
//! They are RFC 8785 (JCS) JSON of the row without `recordDigest`: a [`Record`] with `logID` and
//! `sequence`. A column that is not filled is left out, keys are in the order of their UTF-16 code units,
//! 64-bit integers are strings (a JSON number is a double), and times are RFC 3339 in UTC with six
//! fractional digits. `recordDigest` is the SHA-256 of these bytes.
//!
//! The test vectors beside this file (`<name>.input.json`, `<name>.canonical.json`, `<name>.sha256`) were
//! made with another implementation. They never change; a new `schemaVersion` adds its own.

use aws_lc_rs::digest::{SHA256, digest as hash};
use bytes::Bytes;
use serde_json::{Map, Number, Value};

use self::write::{Length, Out as _, in_order, integer};
use crate::audit::record::Record;

pub(super) mod escape;
mod row;
mod write;

/// The largest integer that every JSON reader keeps exact (RFC 7493).
const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// The canonical bytes around the decimal sequence, which the log gives when it appends.
pub fn split(record: &Record, log_id: &str) -> (Bytes, Bytes) {
    let mut out = Vec::with_capacity(length(record, log_id));
    let digits = row::write(record, log_id, &mut out);
    let bytes = Bytes::from(out);
    (bytes.slice(..digits), bytes.slice(digits..))
}

/// How many bytes [`split`] gives, found without making them.
fn length(record: &Record, log_id: &str) -> usize {
    let mut length = Length(0);
    row::write(record, log_id, &mut length);
    length.0
}

/// The canonical bytes of a row that has its sequence.
pub fn row_bytes(row: &Map<String, Value>) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(1024);
    write_object(row, &mut out)?;
    Ok(out)
}

/// `recordDigest`: SHA-256 of the canonical bytes.
pub fn digest(canonical: &[u8]) -> [u8; 32] {
    hash(&SHA256, canonical)
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// The row holds a number that has no canonical form here.
#[derive(Debug, thiserror::Error)]
#[error(
    "{number} has no canonical form: a row holds integers of at most 53 bits, and larger ones as strings"
)]
pub struct NotCanonical {
    number: Number,
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out)?,
        Value::String(text) => out.text(text),
        Value::Array(values) => write_array(values, out)?,
        Value::Object(members) => write_object(members, out)?,
    }
    Ok(())
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    out.push(b'{');
    for (index, (key, value)) in in_order(members.iter()).into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.text(key);
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_array(values: &[Value], out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(value, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let exact = number
        .as_i64()
        .filter(|integer| integer.unsigned_abs() <= LARGEST_EXACT_INTEGER);
    let exact = exact.ok_or_else(|| NotCanonical {
        number: number.clone(),
    })?;
    integer(exact, out);
    Ok(())
}

#[cfg(test)]
mod tests;
