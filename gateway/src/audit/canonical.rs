//! The canonical bytes of a row: what is hashed, signed and stored in the log.
//!
//! They are RFC 8785 (JCS) JSON of the row without `recordDigest`: a [`Record`] with `logID` and
//! `sequence`. A column that is not filled is left out, keys are in the order of their UTF-16 code units,
//! 64-bit integers are strings (a JSON number is a double), and times are RFC 3339 in UTC with six
//! fractional digits. `recordDigest` is the SHA-256 of these bytes.
//!
//! The test vectors beside this file (`<name>.input.json`, `<name>.canonical.json`, `<name>.sha256`) were
//! made with another implementation. They never change; a new `schemaVersion` adds its own.

use std::io;

use aws_lc_rs::digest::{SHA256, digest as hash};
use bytes::Bytes;
use serde_json::{Map, Number, Value};

use crate::audit::record::Record;

/// The largest integer that every JSON reader keeps exact (RFC 7493).
const LARGEST_EXACT_INTEGER: u64 = (1 << 53) - 1;

/// The canonical bytes around the decimal sequence, which the log gives when it appends.
pub fn split(record: &Record, log_id: &str) -> (Bytes, Bytes) {
    let Ok(Value::Object(mut row)) = serde_json::to_value(record) else {
        unreachable!(
            "a record is a struct of strings, 32-bit integers, lists, and maps with string keys"
        );
    };
    row.insert("logID".to_owned(), Value::from(log_id));
    row.insert("sequence".to_owned(), Value::from(""));
    let mut out = Vec::with_capacity(1024);
    let value = write_object(&row, &mut out).expect("a record holds no number but 32-bit integers");
    let digits = value.expect("the sequence was inserted above") + 1;
    let bytes = Bytes::from(out);
    (bytes.slice(..digits), bytes.slice(digits..))
}

/// How many bytes [`split`] gives, found without making them: what a record is the canonical bytes
/// are too, but for the order of members and the two that the log adds.
pub fn length(record: &Record, log_id: &str) -> usize {
    let mut written = Length(0);
    serde_json::to_writer(&mut written, record).expect("a record is written as JSON");
    serde_json::to_writer(&mut written, log_id).expect("an id is written as JSON");
    written.0 + r#","logID":,"sequence":"""#.len()
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        Value::String(text) => write_string(text, out),
        Value::Array(values) => write_array(values, out)?,
        Value::Object(members) => drop(write_object(members, out)?),
    }
    Ok(())
}

/// Returns where the value of the member `sequence` begins.
fn write_object(
    members: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, NotCanonical> {
    let mut sequence = None;
    out.push(b'{');
    for (index, (key, value)) in in_order(members).into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        if key == "sequence" {
            sequence = Some(out.len());
        }
        write(value, out)?;
    }
    out.push(b'}');
    Ok(sequence)
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
    let integer = exact.ok_or_else(|| NotCanonical {
        number: number.clone(),
    })?;
    out.extend_from_slice(integer.to_string().as_bytes());
    Ok(())
}

/// serde_json escapes strings as RFC 8785 section 3.2.2.2 asks: the two-character forms where JSON has one,
/// `\u00xx` in lower case for the other controls, everything else as it is.
fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is written to memory");
}

/// RFC 8785 sorts by UTF-16 code units: astral characters come before U+E000, unlike in UTF-8.
fn in_order(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    sorted
}

#[cfg(test)]
mod tests;
