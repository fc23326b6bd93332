//! Secrets that take a closer look than a prefix. All begin and end at ASCII bytes, so their bounds are bounds of
//! characters.

use std::ops::Range;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};

use super::telling::is_placeholder;

/// Shorter words after `Bearer` are prose.
const BEARER_MIN: usize = 16;

/// A base64 token's first part begins with `{"` and a lower-case letter.
pub(super) const TOKEN_STARTS: [&str; 26] = [
    "eyJh", "eyJi", "eyJj", "eyJk", "eyJl", "eyJm", "eyJn", "eyJo", "eyJp", "eyJq", "eyJr", "eyJs",
    "eyJt", "eyJu", "eyJv", "eyJw", "eyJx", "eyJy", "eyJz", "eyJ0", "eyJ1", "eyJ2", "eyJ3", "eyJ4",
    "eyJ5", "eyJ6",
];

/// The last letter of a scheme: none is shorter than what is searched for.
pub(super) const SCHEMES: [&str; 28] = [
    "a://", "b://", "c://", "d://", "e://", "f://", "g://", "h://", "i://", "j://", "k://", "l://",
    "m://", "n://", "o://", "p://", "q://", "r://", "s://", "t://", "u://", "v://", "w://", "x://",
    "y://", "z://", "2://", "3://",
];

pub(super) enum Found {
    Secret(Range<usize>),
    NothingBefore(usize),
}

/// Three or more parts of base64url, the first of which begins like `{"`. The second may be empty: it stands elsewhere.
pub(super) fn json_web_token(text: &[u8], start: usize) -> Found {
    if !text[start..].starts_with(b"eyJ") {
        return Found::NothingBefore(start + 1);
    }
    let first = run(text, start, is_base64url);
    let part_after =
        |end: usize| (text.get(end) == Some(&b'.')).then(|| run(text, end + 1, is_base64url));
    let Some(second) = part_after(first) else {
        return Found::NothingBefore(first);
    };
    let third = part_after(second).filter(|third| second > first + 1 || *third > second + 1);
    let Some(mut end) = third else {
        return Found::NothingBefore(first);
    };
    while let Some(next) = part_after(end).filter(|next| *next > end + 1) {
        end = next;
    }
    Found::Secret(start..end)
}

pub(super) fn bearer_token(text: &[u8], at: usize) -> Found {
    let start = at + b"bearer ".len();
    let end = run(text, start, is_token68);
    match end - start >= BEARER_MIN {
        true => Found::Secret(start..end),
        false => Found::NothingBefore(at + 1),
    }
}

/// RFC 7617: base64 of a name, a colon and a password.
pub(super) fn basic_credentials(text: &[u8], at: usize) -> Found {
    let start = at + b"basic ".len();
    let end = run(text, start, is_base64);
    let decoded = BASE64_STANDARD_NO_PAD
        .decode(&text[start..end])
        .unwrap_or_default();
    let printable = decoded.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match printable && decoded.contains(&b':') {
        true => Found::Secret(start..run(text, end, |byte| byte == b'=')),
        false => Found::NothingBefore(at + 1),
    }
}

/// RFC 3986 section 3.2.1: what stands between a colon and the last `@` before the path.
pub(super) fn url_password(text: &[u8], at: usize) -> Found {
    let start = at + b"x://".len();
    let end = run(text, start, |byte| {
        byte.is_ascii_graphic() && !b"/?#\"'<>\\`".contains(&byte) || !byte.is_ascii()
    });
    let authority = &text[start..end];
    let password = memchr::memrchr(b'@', authority).and_then(|host| {
        let colon = memchr::memchr(b':', &authority[..host])?;
        Some(start + colon + 1..start + host)
    });
    match password {
        Some(password) if !is_placeholder(&text[password.clone()]) => Found::Secret(password),
        _ => Found::NothingBefore(start),
    }
}

pub(super) fn run(text: &[u8], start: usize, within: impl Fn(u8) -> bool) -> usize {
    let start = start.min(text.len());
    text[start..]
        .iter()
        .position(|byte| !within(*byte))
        .map_or(text.len(), |length| start + length)
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_base64url(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// RFC 9110 section 11.2.
fn is_token68(byte: u8) -> bool {
    is_base64url(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}
