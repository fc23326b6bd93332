//! The operations of a JSON Patch (RFC 6902).

use std::ops::Range;

use super::super::spans;

/// Each operation's path, and where its value stands. A path or value that is given twice counts each time.
pub(super) fn operations(json: &[u8]) -> Vec<(String, Range<usize>)> {
    let start = spans::past_space(json, 0);
    if json.get(start) != Some(&b'[') {
        return Vec::new();
    }
    let objects = spans::elements(json, start).filter(|element| json[element.start] == b'{');
    objects
        .flat_map(|object| operation(json, object.start))
        .collect()
}

fn operation(json: &[u8], start: usize) -> Vec<(String, Range<usize>)> {
    let (mut paths, mut values) = (Vec::new(), Vec::new());
    for (name, value) in spans::members(json, start) {
        match spans::decoded(&json[name]).as_deref() {
            Some("path") => paths.extend(spans::decoded(&json[value])),
            Some("value") => values.push(value),
            _ => {}
        }
    }
    let pairs = paths.iter().flat_map(|path| {
        values
            .iter()
            .map(move |value| (path.clone(), value.clone()))
    });
    pairs.collect()
}

/// It leads to a list of environment variables, to one of them, or to its value. What stands for the index is the
/// server's to read: it also takes `-1` and `+0`.
pub(super) fn is_variable(path: &str) -> bool {
    let names: Vec<&str> = path.split('/').collect();
    matches!(
        names[..],
        [.., "env"] | [.., "env", _] | [.., "env", _, "value"]
    )
}
