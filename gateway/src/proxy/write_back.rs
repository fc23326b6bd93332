//! A placeholder must not be written back: it would take the place of the value that it stands for.
//!
//! Whatever the agent's view, and whether the placeholder is an agent's or the record's: in any format, decoded where it
//! is encoded, in the body and in the target. What is looked for is an accident. Who takes a placeholder apart to get it
//! through only overwrites what it may overwrite anyway.

use std::borrow::Cow;

use self::reading::Reading;
use super::content;
use crate::{
    mask::{Budget, Placeholder, TooMuchEncoded},
    policy::Denial,
    request_info::media_type,
};

mod reading;

/// What is no JSON is read into memory to name the field, up to this length.
const NAMED: usize = 64 << 10;

/// How often escapes are looked behind, the text as it is included.
const ESCAPED: usize = 3;

/// Refuses a call whose target or body has a placeholder in it. `content_type` is the header as it came.
pub(super) fn check(target: &str, content_type: Option<&[u8]>, body: &[u8]) -> Result<(), Denial> {
    let in_target = Placeholder::find_within(&percent_decoded(target));
    if in_target.map_err(|_| too_much_encoded())?.is_some() {
        return Err(denial("the URL"));
    }
    if body.is_empty() || !has_placeholder(body).map_err(|_| too_much_encoded())? {
        return Ok(());
    }
    let field = field(content_type, body);
    Err(denial(field.as_deref().unwrap_or("the body")))
}

/// As it is written, or behind the escapes that JSON and YAML share. Base64 that was broken into lines is whole again only
/// without them, and an object may be a text in another.
fn has_placeholder(body: &[u8]) -> Result<bool, TooMuchEncoded> {
    let mut budget = Budget::of(body);
    let mut text = Cow::Borrowed(body);
    for _ in 0..ESCAPED {
        if Placeholder::find_for(&text, &mut budget)?.is_some() {
            return Ok(true);
        }
        if !text.contains(&b'\\') {
            break;
        }
        text = Cow::Owned(unescaped(&text));
    }
    Ok(false)
}

/// The first field that has one in it, whatever the format.
fn field(content_type: Option<&[u8]>, body: &[u8]) -> Option<String> {
    // For all fields together: each may cost as much as a whole body.
    let mut budget = Budget::of(body);
    let in_json = Reading::field(&mut serde_json::Deserializer::from_slice(body), &mut budget);
    if in_json.is_some() || body.len() > NAMED {
        return in_json;
    }
    let media_type = media_type(content_type);
    let format = match media_type.as_str() {
        "application/apply-patch+yaml" => "application/yaml",
        other => other,
    };
    Reading::field(&content::read_object(format, body).ok()?, &mut budget)
}

/// What is escaped and no ASCII is of no interest.
fn unescaped(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..backslash]);
        let (byte, length) = escape(&rest[backslash + 1..]);
        text.push(byte);
        rest = rest.get(backslash + 1 + length..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    text
}

/// What an escape stands for, and how long it is behind its backslash.
fn escape(behind: &[u8]) -> (u8, usize) {
    let hexadecimal = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    match behind {
        [b'u', digits @ ..] => match digits.get(..4).and_then(hexadecimal) {
            Some(code) => (u8::try_from(code).unwrap_or(b' '), 5),
            None => (b' ', 1),
        },
        [b'n' | b'r' | b't', ..] => (b'\n', 1),
        [byte, ..] => (*byte, 1),
        [] => (b'\\', 0),
    }
}

fn percent_decoded(target: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(target.len());
    let mut rest = target.as_bytes();
    while let [byte, tail @ ..] = rest {
        let digit = |byte: u8| (byte as char).to_digit(16);
        let escaped = match tail {
            [high, low, ..] if *byte == b'%' => digit(*high)
                .zip(digit(*low))
                .and_then(|(high, low)| u8::try_from(high << 4 | low).ok()),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

fn denial(field: &str) -> Denial {
    let reason = if field.is_empty() {
        "the body is a placeholder that stands for a value you may not see; it would be written in that value's place".to_owned()
    } else {
        format!(
            "{field} holds a placeholder that stands for a value you may not see; it would be written in that value's place"
        )
    };
    Denial {
        rule: "built-in/write-back".into(),
        reason,
        hint: "Leave the field out: change only what you mean to change, with a patch (kubectl patch, or kubectl apply \
               --server-side of those fields alone); or write the real value."
            .into(),
    }
}

fn too_much_encoded() -> Denial {
    Denial {
        rule: "built-in/write-back".into(),
        reason: "there is more base64 and gzip inside of each other in it than the gateway looks through for placeholders".into(),
        hint: "Send it in smaller parts, or encoded once.".into(),
    }
}

#[cfg(test)]
mod tests;
