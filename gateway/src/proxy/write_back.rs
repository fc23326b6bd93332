//! A placeholder must not be written back: it would take the place of the value that it stands for.
//!
//! Whatever the agent's view, and whether the placeholder is an agent's or the record's: in any format, decoded where it
//! is encoded, in the body and in the target. What is looked for is an accident. Who takes a placeholder apart to get it
//! through only overwrites what it may overwrite anyway.

use memchr::memmem;
use serde_json::Value;

use super::content;
use crate::{mask::Placeholder, policy::Denial, request_info::media_type};

/// How JSON in a text in JSON may be nested: `last-applied-configuration` in itself.
const DEPTH: u32 = 4;

/// Refuses a call whose target or body has a placeholder in it. `content_type` is the header as it came.
pub(super) fn check(target: &str, content_type: Option<&[u8]>, body: &[u8]) -> Result<(), Denial> {
    if Placeholder::find(&percent_decoded(target)).is_some() {
        return Err(denial("the URL"));
    }
    if body.is_empty() {
        return Ok(());
    }
    let found = Placeholder::find(body).is_some();
    // The names of what is escaped are known only once it is read.
    if !found && memmem::find(body, b"\\u").is_none() {
        return Ok(());
    }
    let value = read(content_type, body);
    match value.and_then(|value| field(&value, &mut String::new(), 0)) {
        Some(field) => Err(denial(&field)),
        None if found => Err(denial("the body")),
        None => Ok(()),
    }
}

/// In whatever format it is, so that the field can be named.
fn read(content_type: Option<&[u8]>, body: &[u8]) -> Option<Value> {
    let media_type = media_type(content_type);
    let format = match media_type.as_str() {
        "application/apply-patch+yaml" => "application/yaml",
        other => other,
    };
    let read = || content::read_object(format, body).ok();
    serde_json::from_slice(body).ok().or_else(read)
}

/// The first field that has one in it, as people write paths: `data.password`, `spec.containers[0].env[2].value`.
fn field(value: &Value, path: &mut String, depth: u32) -> Option<String> {
    let before = path.len();
    match value {
        Value::String(text) => return in_text(text, path, depth),
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                if let Some(found) = field(element, path, depth) {
                    return Some(found);
                }
                path.truncate(before);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                step(path, name);
                if Placeholder::find(name.as_bytes()).is_some() {
                    return Some(path.clone());
                }
                if let Some(found) = field(member, path, depth) {
                    return Some(found);
                }
                path.truncate(before);
            }
        }
        _ => {}
    }
    None
}

fn step(path: &mut String, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.bytes().all(plain) {
        path.push_str(&format!("[{name:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn in_text(text: &str, path: &mut String, depth: u32) -> Option<String> {
    Placeholder::find(text.as_bytes())?;
    let before = path.len();
    if depth < DEPTH
        && text.trim_start().starts_with(['{', '['])
        && let Ok(inner) = serde_json::from_str::<Value>(text)
    {
        path.push_str(", in it ");
        let inside = path.len();
        let mut rest = String::new();
        if let Some(found) = field(&inner, &mut rest, depth + 1) {
            path.truncate(inside);
            path.push_str(&found);
            return Some(path.clone());
        }
        path.truncate(before);
    }
    Some(path.clone())
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

#[cfg(test)]
mod tests;
