//! The operations of a JSON Patch, one at a time: a body of empty ones would be many times its size in memory.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer as _, Error, SeqAccess, Visitor},
};

/// As many as the API server takes.
const LIMIT: usize = 10_000;

/// serde refuses a field that is given twice; the API server would take the last.
#[derive(Deserialize)]
pub(super) struct Operation {
    pub(super) op: Option<String>,
    pub(super) path: Option<String>,
    pub(super) from: Option<String>,
}

/// The body is no list of operations, or of too many.
#[derive(Debug)]
pub(super) struct NoPatch;

/// Which operation is the first that `is_wanted`.
pub(super) fn position(
    body: &[u8],
    is_wanted: impl Fn(&Operation) -> bool,
) -> Result<Option<usize>, NoPatch> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = deserializer.deserialize_seq(Search(is_wanted));
    let found = found.map_err(|_| NoPatch)?;
    deserializer.end().map_err(|_| NoPatch)?;
    Ok(found)
}

struct Search<F>(F);

impl<'de, F: Fn(&Operation) -> bool> Visitor<'de> for Search<F> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {LIMIT} operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut operations: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut count = 0;
        while let Some(operation) = operations.next_element()? {
            if count == LIMIT {
                return Err(A::Error::custom("too many operations"));
            }
            if found.is_none() && self.0(&operation) {
                found = Some(count);
            }
            count += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch_of(count: usize) -> String {
        format!("[{}]", vec!["{}"; count].join(","))
    }

    #[test]
    fn a_patch_of_more_operations_than_the_api_server_takes_is_unreadable() {
        let none = |body: &str| position(body.as_bytes(), |_| false);
        assert_eq!(none(&patch_of(LIMIT)).ok(), Some(None));
        assert!(none(&patch_of(LIMIT + 1)).is_err());
    }

    #[test]
    fn one_operation_at_a_time_is_looked_at() {
        let seen = std::cell::Cell::new(0);
        let last = |_: &Operation| {
            seen.set(seen.get() + 1);
            seen.get() == 9
        };
        assert_eq!(position(patch_of(9).as_bytes(), last).ok(), Some(Some(8)));
    }
}
