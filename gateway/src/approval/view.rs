//! What a reviewer sees: the change as YAML, masked as the record is.

use std::sync::Arc;

use serde_json::Value;
use similar::TextDiff;

use crate::mask::{self, Body, BodyMasker, Masked, Rule};

/// Of what is shown: an object of the API server must stay small, and nobody reads more.
const MOST: usize = 48 << 10;
const CONTEXT: usize = 3;

/// A unified diff of the object before and after. None where the masker cannot read one of them, or nothing changes.
pub fn diff(
    key: &Arc<mask::Key>,
    rule: impl Fn() -> Rule,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Option<String> {
    let yaml = |object: Option<&Value>| match object {
        None => Some(String::new()),
        Some(object) => yaml(&masked(key, rule(), object)?),
    };
    let (before, after) = (yaml(before)?, yaml(after)?);
    let diff = TextDiff::from_lines(&before, &after);
    let mut unified = diff.unified_diff();
    let text = unified
        .context_radius(CONTEXT)
        .header("current", "after")
        .to_string();
    (before != after).then(|| cut(text))
}

/// One object as YAML. None where the masker cannot read it.
pub fn object(key: &Arc<mask::Key>, rule: Rule, object: &Value) -> Option<String> {
    yaml(&masked(key, rule, object)?).map(cut)
}

fn masked(key: &Arc<mask::Key>, rule: Rule, object: &Value) -> Option<Masked<String>> {
    let bytes = serde_json::to_vec(&tidied(object)).ok()?;
    let limit = bytes.len() * 4 + 1024;
    let mut masker = BodyMasker::new(key, rule, Some("application/json"), None, limit, true);
    masker.update(&bytes);
    match masker.finish().body {
        Body::Inline(masked) => Some(masked),
        _ => None,
    }
}

/// Without what the API server keeps for itself.
fn tidied(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        let annotations = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    object
}

fn yaml(masked: &Masked<String>) -> Option<String> {
    let value: Value = serde_json::from_str(masked.get()).ok()?;
    serde_saphyr::to_string(&value).ok()
}

fn cut(mut text: String) -> String {
    if text.len() <= MOST {
        return text;
    }
    let end = (0..=MOST).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or_default());
    text.push_str("\n… the rest is too long to be shown here\n");
    text
}

#[cfg(test)]
mod tests;
