//! Which object it is that a body holds.

use super::super::super::{
    fields::{Identity, fold},
    placeholder::Placeholder,
    spans,
};

/// What an object says of itself.
pub(super) fn identity(json: &[u8], start: usize) -> Identity {
    let mut identity = Identity::default();
    for metadata in named(json, start, "metadata", b'{') {
        for (name, value) in spans::members(json, metadata) {
            let known = match &*folded(&json[name]) {
                "name" => &mut identity.names,
                "namespace" => &mut identity.namespaces,
                _ => continue,
            };
            match spans::decoded(&json[value]) {
                // Hidden from the agent already.
                Some(text) if Placeholder::is_one(text.as_bytes()) => identity.is_unsure = true,
                Some(text) if text.is_empty() => {}
                Some(text) => known.push(text),
                None => identity.is_unsure = true,
            }
        }
    }
    identity
}

/// Where the values of the members called `wanted` begin that are of one shape.
pub(super) fn named<'j>(
    json: &'j [u8],
    start: usize,
    wanted: &'j str,
    shape: u8,
) -> impl Iterator<Item = usize> + 'j {
    spans::members(json, start)
        .filter(move |(name, value)| {
            json.get(value.start) == Some(&shape) && folded(&json[name.clone()]) == wanted
        })
        .map(|(_, value)| value.start)
}

pub(super) fn folded(name: &[u8]) -> String {
    spans::decoded(name)
        .as_deref()
        .map(fold)
        .unwrap_or_default()
}
