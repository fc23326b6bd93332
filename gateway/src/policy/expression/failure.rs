//! Why an expression cannot be read or evaluated. These words reach callers and records, so they hold no value that
//! the expression read.

use cel::{ExecutionError, ParseErrors};

/// The first problem, with the place in the expression.
pub(super) fn syntax(errors: &ParseErrors) -> String {
    match errors.errors.first() {
        Some(error) => {
            let message: String = error.msg.chars().take(200).collect();
            let (line, column) = error.pos;
            format!("is not CEL: line {line}, column {column}: {message}")
        }
        None => "is not CEL".to_owned(),
    }
}

/// A key is named only where the expression itself names it.
pub(super) fn execution(error: &ExecutionError, text: &str) -> String {
    match error {
        ExecutionError::NoSuchKey(key) if text.contains(key.as_str()) => {
            format!("there is no {:?}", key.as_str())
        }
        ExecutionError::NoSuchKey(_) => "a key is not there".to_owned(),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::UnexpectedType { got, want } => {
            format!("found {got} in the place of {want}")
        }
        ExecutionError::IndexOutOfBounds(_) => "an index is beyond the end of its list".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "a value has another type than the expression needs".to_owned(),
    }
}
