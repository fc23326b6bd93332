//! Names that say that a secret follows, and whether what follows looks like one.

use std::ops::Range;

use super::shapes::run;

/// Without case; a name is telling if it ends with one of them.
pub(in super::super) const WORDS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "privatekey",
    "private_key",
    "private-key",
    "credential",
    "credentials",
    "secretkey",
];

/// Shorter ones are too easily a word.
const SHORTEST: usize = 8;
const LONGEST: usize = 512;

/// A member's name or the last part of a path.
pub fn is_telling(name: &[u8]) -> bool {
    WORDS.iter().any(|word| {
        let start = name.len().checked_sub(word.len());
        start.is_some_and(|start| name[start..].eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// Behind a name that ends at `end` and `=` or `:`, both of which may be quoted.
pub(super) fn value_behind(text: &[u8], end: usize) -> Option<Range<usize>> {
    let quote = |byte| matches!(byte, b'"' | b'\'');
    let skip = |at, what: fn(u8) -> bool, most| run(text, at, what).min(at + most).min(text.len());
    let sign = skip(skip(end, quote, 1), |byte| byte == b' ', 4);
    if !matches!(text.get(sign), Some(b'=' | b':')) {
        return None;
    }
    let start = skip(skip(sign + 1, |byte| byte == b' ', 4), quote, 1);
    let bounded = &text[..text.len().min(start + LONGEST + 1)];
    let value = start..run(bounded, start, |byte| {
        byte.is_ascii_graphic() && !b"\"',;`<>(){}[]\\".contains(&byte)
    });
    looks_chosen_by_no_one(&text[value.clone()]).then_some(value)
}

/// What a generator makes, or a person who was told to use digits and signs: not a name, a path or a variable.
pub(in super::super) fn looks_chosen_by_no_one(value: &[u8]) -> bool {
    if !(SHORTEST..=LONGEST).contains(&value.len()) || is_placeholder(value) || is_place(value) {
        return false;
    }
    let count = |what: fn(&u8) -> bool| value.iter().filter(|byte| what(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let kinds = [
        digits,
        count(u8::is_ascii_lowercase),
        count(u8::is_ascii_uppercase),
        count(|byte| byte.is_ascii_punctuation() && !b"-._:/".contains(byte)),
    ];
    let varied = kinds.iter().filter(|kind| **kind > 0).count() >= 3;
    let long =
        value.len() >= 16 && digits >= 3 && kinds.iter().filter(|kind| **kind > 0).count() >= 2;
    let printable = value.iter().all(u8::is_ascii_graphic);
    printable && (varied || long) && entropy(value) >= 3.0
}

/// Stands for a value: one of ours, a variable, a template, stars.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    value.is_empty()
        || value.starts_with(b"masked:")
        || matches!(value[0], b'$' | b'{' | b'<' | b'%' | b'*')
}

fn is_place(value: &[u8]) -> bool {
    matches!(value[0], b'/' | b'.') || memchr::memmem::find(value, b"://").is_some()
}

/// Shannon's, in bits per byte.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let length = value.len() as f64;
    let parts = counts.iter().filter(|count| **count > 0).map(|count| {
        let share = f64::from(*count) / length;
        -share * share.log2()
    });
    parts.sum()
}
