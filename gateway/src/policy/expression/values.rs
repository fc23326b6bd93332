//! JSON as CEL's values, borrowed where it is text.

use std::collections::HashMap;

use cel::common::{
    types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
    value::Val,
};
use serde_json::{Number, Value};

/// The most entries of a list or map that expressions go through.
pub(super) const MAX_ENTRIES: usize = 2000;
const MAX_VALUES: usize = 200_000;
const MAX_DEPTH: usize = 128;

pub(super) type Boxed<'a> = Box<dyn Val + 'a>;

/// The value is larger than expressions read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLarge;

pub(super) fn json(value: &Value) -> Result<Boxed<'_>, TooLarge> {
    let mut left = MAX_VALUES;
    convert(value, MAX_DEPTH, &mut left)
}

fn convert<'a>(value: &'a Value, depth: usize, left: &mut usize) -> Result<Boxed<'a>, TooLarge> {
    let depth = depth.checked_sub(1).ok_or(TooLarge)?;
    *left = left.checked_sub(1).ok_or(TooLarge)?;
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(value) => number(value),
        Value::String(value) => text(value),
        Value::Array(entries) => {
            check_entries(entries.len())?;
            let entries = entries.iter().map(|entry| convert(entry, depth, left));
            list(entries.collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => {
            check_entries(entries.len())?;
            let entries = entries
                .iter()
                .map(|(key, value)| Ok((key.as_str(), convert(value, depth, left)?)));
            map(entries.collect::<Result<Vec<_>, TooLarge>>()?)
        }
    })
}

fn check_entries(count: usize) -> Result<(), TooLarge> {
    (count <= MAX_ENTRIES).then_some(()).ok_or(TooLarge)
}

fn number(number: &Number) -> Boxed<'static> {
    match (number.as_i64(), number.as_u64()) {
        (Some(value), _) => Box::new(CelInt::from(value)),
        (None, Some(value)) => Box::new(CelUInt::from(value)),
        (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}

pub(super) fn text(text: &str) -> Boxed<'_> {
    Box::new(CelString::from(text))
}

pub(super) fn truth(value: bool) -> Boxed<'static> {
    Box::new(CelBool::from(value))
}

pub(super) fn null() -> Boxed<'static> {
    Box::new(CelNull)
}

pub(super) fn list(entries: Vec<Boxed<'_>>) -> Boxed<'_> {
    Box::new(CelList::from(entries))
}

pub(super) fn texts<'a>(entries: impl IntoIterator<Item = &'a String>) -> Boxed<'a> {
    list(entries.into_iter().map(|entry| text(entry)).collect())
}

pub(super) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Boxed<'a>)>) -> Boxed<'a> {
    let entries: HashMap<_, _> = entries
        .into_iter()
        .map(|(key, value)| (CelMapKey::from(key), value))
        .collect();
    Box::new(CelMap::from(entries))
}

/// A map of those that are there: an expression that reads another one cannot be evaluated.
pub(super) fn present<'a>(
    entries: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Boxed<'a> {
    let there = entries
        .into_iter()
        .filter_map(|(key, value)| Some((key, text(value.filter(|value| !value.is_empty())?))));
    map(there)
}
