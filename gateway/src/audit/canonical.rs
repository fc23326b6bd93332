//! The canonical bytes of a row: what is hashed, signed and stored in the log.
//!
//! They are RFC 8785 (JCS) JSON of the row without `recordDigest`: a [`Record`] with `logID` and
//! `sequence`. A column that is not filled is left out, keys are in the order of their UTF-16 code units,
//! 64-bit integers are strings (a JSON number is a double), and times are RFC 3339 in UTC with six
//! fractional digits. `recordDigest` is the SHA-256 of these bytes.
//!
//! The test vectors beside this file (`<name>.input.json`, `<name>.canonical.json`, `<name>.sha256`) were
//! made with another implementation. They never change; a new `schemaVersion` adds its own.

use std::convert::Infallible;

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
    write_object(row, &mut out, write_exact)?;
    Ok(out)
}

/// RFC 8785 JSON of any value, for a digest of it. An integer beyond 53 bits is written with all its digits, where
/// RFC 8785 would round it: two values that differ never have the same bytes.
pub fn value_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let Ok(()) = write(value, &mut out, write_any_number);
    out
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

type WriteNumber<E> = fn(&Number, &mut Vec<u8>) -> Result<(), E>;

fn write<E>(value: &Value, out: &mut Vec<u8>, number: WriteNumber<E>) -> Result<(), E> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(value) => number(value, out)?,
        Value::String(text) => out.text(text),
        Value::Array(values) => write_array(values, out, number)?,
        Value::Object(members) => write_object(members, out, number)?,
    }
    Ok(())
}

fn write_object<E>(
    members: &Map<String, Value>,
    out: &mut Vec<u8>,
    number: WriteNumber<E>,
) -> Result<(), E> {
    out.push(b'{');
    for (index, (key, value)) in in_order(members.iter()).into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.text(key);
        out.push(b':');
        write(value, out, number)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_array<E>(values: &[Value], out: &mut Vec<u8>, number: WriteNumber<E>) -> Result<(), E> {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(value, out, number)?;
    }
    out.push(b']');
    Ok(())
}

fn write_exact(number: &Number, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let exact = number
        .as_i64()
        .filter(|integer| integer.unsigned_abs() <= LARGEST_EXACT_INTEGER);
    let exact = exact.ok_or_else(|| NotCanonical {
        number: number.clone(),
    })?;
    integer(exact, out);
    Ok(())
}

fn write_any_number(number: &Number, out: &mut Vec<u8>) -> Result<(), Infallible> {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(double) => out.extend_from_slice(double_text(double).as_bytes()),
        None => out.extend_from_slice(number.to_string().as_bytes()),
    }
    Ok(())
}

/// ECMAScript's `Number::toString`, which RFC 8785 section 3.2.2.3 names. Rust finds the same shortest digits.
fn double_text(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    let sign = if double < 0.0 { "-" } else { "" };
    let scientific = format!("{:e}", double.abs());
    let (digits, exponent) = scientific
        .split_once('e')
        .unwrap_or((scientific.as_str(), "0"));
    let digits = digits.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |number: i32| "0".repeat(usize::try_from(number).unwrap_or_default());
    let text = match point {
        1..=21 if count <= point => digits + &zeros(point - count),
        1..=21 => {
            let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
            format!("{whole}.{fraction}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{:+}", point - 1)
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests;
