//! Finds its way in JSON that is known to be whole.

use std::ops::Range;

/// The string that the byte at `at` is inside of, with its quotes.
pub(super) fn string_around(json: &[u8], at: usize) -> Range<usize> {
    let mut start = at;
    while let Some(quote) = memchr::memrchr(b'"', &json[..start]) {
        let backslashes = json[..quote]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        start = quote;
        if backslashes % 2 == 0 {
            break;
        }
    }
    start..string_end(json, start)
}

/// Behind the string that begins at `start`.
pub(super) fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(next) = json
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += next;
        if json[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

/// Behind the value that begins at `start`.
pub(super) fn value_end(json: &[u8], start: usize) -> usize {
    match json.get(start) {
        Some(b'"') => string_end(json, start),
        Some(b'{' | b'[') => container_end(json, start),
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            json[start.min(json.len())..]
                .iter()
                .position(ends)
                .map_or(json.len(), |end| start + end)
        }
    }
}

fn container_end(json: &[u8], start: usize) -> usize {
    closing(json, start + 1).map_or(json.len(), |bracket| bracket + 1)
}

/// The bracket that ends the container which what stands at `at` is in.
pub(super) fn closing(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth: usize = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = string_end(json, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The first byte from `at` that is no space.
pub(super) fn past_space(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    let space = rest
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    at + space
}

/// Where the value begins, if the string that ends at `end` is a member's name.
pub(super) fn value_of_name(json: &[u8], end: usize) -> Option<usize> {
    let colon = past_space(json, end);
    (json.get(colon) == Some(&b':')).then(|| past_space(json, colon + 1))
}

/// The elements of the array that begins at `start`.
pub(super) fn elements(json: &[u8], start: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = start + 1;
    std::iter::from_fn(move || {
        let from = past_separator(json, at)?;
        at = value_end(json, from);
        Some(from..at)
    })
}

/// The names and values of the object that begins at `start`.
pub(super) fn members(
    json: &[u8],
    start: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
    let mut at = start + 1;
    std::iter::from_fn(move || {
        let name = past_separator(json, at)?;
        let name = name..string_end(json, name);
        let value = value_of_name(json, name.end)?;
        at = value_end(json, value);
        Some((name, value..at))
    })
}

/// The next element or member, unless the container ends.
pub(super) fn past_separator(json: &[u8], at: usize) -> Option<usize> {
    let at = past_space(json, at);
    match json.get(at)? {
        b',' => Some(past_space(json, at + 1)),
        b']' | b'}' => None,
        _ => Some(at),
    }
}

/// The text of a string with its quotes; `None` where it holds half of a surrogate pair.
pub(super) fn decoded(string: &[u8]) -> Option<String> {
    serde_json::from_slice(string).ok()
}
