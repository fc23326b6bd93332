//! One record as it is read back: plain strings and numbers under the canonical names.

use jiff::Timestamp;
use serde_json::Value;

use crate::audit::parquet::rows::Row;

/// The columns of one record, or of those that were asked for. Serializes as the canonical row.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Record(pub Row);

impl Record {
    /// The text at a path of names: `["objectRef", "name"]`.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.value(path)?.as_str()
    }

    /// The number at a path of names; 64-bit integers are strings in a row.
    pub fn integer(&self, path: &[&str]) -> Option<i64> {
        match self.value(path)? {
            Value::String(digits) => digits.parse().ok(),
            number => number.as_i64(),
        }
    }

    pub fn value(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.0.get(*first)?, |value, name| value.get(name))
    }

    pub fn audit_id(&self) -> &str {
        self.text(&["auditID"]).unwrap_or_default()
    }

    pub fn log_id(&self) -> &str {
        self.text(&["logID"]).unwrap_or_default()
    }

    pub fn sequence(&self) -> Option<u64> {
        self.integer(&["sequence"])?.try_into().ok()
    }

    /// When the gateway had read the request's head.
    pub fn received(&self) -> Option<Timestamp> {
        self.text(&["requestReceivedTimestamp"])?.parse().ok()
    }

    /// The beginning or the end of a hold, between the intent and the outcome.
    pub fn is_hold(&self) -> bool {
        !self.is_outcome()
            && self
                .value(&["approval"])
                .is_some_and(|value| !value.is_null())
    }

    pub fn is_outcome(&self) -> bool {
        self.text(&["stage"]) == Some("ResponseComplete")
    }
}
