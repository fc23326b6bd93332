//! The operations of a JSON Patch (RFC 6902).

use std::ops::Range;

use super::super::spans;

/// A path or value that is given twice counts each time.
#[derive(Default)]
pub(super) struct Operation {
    /// `None` is one that cannot be read.
    pub(super) paths: Vec<Option<String>>,
    pub(super) values: Vec<Range<usize>>,
}

/// Those of the array that begins at `start`.
pub(super) fn operations(json: &[u8], start: usize) -> impl Iterator<Item = Operation> + '_ {
    let objects = spans::elements(json, start).filter(|element| json[element.start] == b'{');
    objects.map(|object| operation(json, object.start))
}

fn operation(json: &[u8], start: usize) -> Operation {
    let mut operation = Operation::default();
    for (name, value) in spans::members(json, start) {
        let name = spans::decoded(&json[name]).unwrap_or_default();
        match &*name.to_ascii_lowercase() {
            "path" => operation.paths.push(spans::decoded(&json[value])),
            "value" => operation.values.push(value),
            _ => {}
        }
    }
    operation
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
