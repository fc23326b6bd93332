//! What a reviewer sees: the change as YAML, masked as the record is. Whole, or nobody is asked.

use std::sync::Arc;

use serde_json::{Map, Value};
use similar::TextDiff;

use crate::mask::{self, Body, BodyMasker, Disguised, Rule};

/// Of what is shown: an object of the API server must stay small, and nobody reads more.
const MOST: usize = 48 << 10;
/// Where more would be shown, a line that is longer and stays as it is.
const FOLDED: usize = 256;
const CONTEXT: usize = 3;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Nobody could tell what they approve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unshowable {
    #[error("what it changes cannot be shown without the secrets in it")]
    NotMasked,
    #[error("{0}")]
    Disguised(#[from] Disguised),
    #[error("what it changes is longer than the {} KiB that people are shown", MOST >> 10)]
    TooLong,
}

/// A unified diff of the object before and after. None where nothing changes.
pub fn diff(
    key: &Arc<mask::Key>,
    rule: impl Fn() -> Rule,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<Option<String>, Unshowable> {
    let tidied = |object: Option<&Value>| object.map(|object| tidied(key, object));
    let (before, after) = (tidied(before), tidied(after));
    if before == after {
        return Ok(None);
    }
    let masked = |object: &Option<Value>| {
        let object = object.as_ref();
        object.map(|object| masked(key, rule(), object)).transpose()
    };
    let shown = (masked(&before)?, masked(&after)?);
    if let ((_, Some(shown)), Some(after)) = (&shown, &after) {
        check_disguise(key, &rule(), before.as_ref(), after, shown)?;
    }
    let (before, after) = shown;
    if before == after {
        return Err(Unshowable::NotMasked);
    }
    let whole = unified(before.as_ref(), after.as_ref())?;
    if whole.len() <= MOST {
        return Ok(Some(whole));
    }
    let shortened = shortened(&whole);
    match shortened.len() <= MOST {
        true => Ok(Some(shortened)),
        // The rest of it goes, too.
        false if after.is_none() => Ok(Some(cut(shortened))),
        false => Err(Unshowable::TooLong),
    }
}

/// One object as YAML.
pub fn object(key: &Arc<mask::Key>, rule: Rule, object: &Value) -> Result<String, Unshowable> {
    let object = tidied(key, object);
    let shown = masked(key, rule.clone(), &object)?;
    check_disguise(key, &rule, None, &object, &shown)?;
    let whole = yaml(&shown)?;
    match whole.len() <= MOST {
        true => Ok(whole),
        false => Err(Unshowable::TooLong),
    }
}

fn unified(before: Option<&Value>, after: Option<&Value>) -> Result<String, Unshowable> {
    let yaml = |object: Option<&Value>| object.map_or(Ok(String::new()), yaml);
    let (before, after) = (yaml(before)?, yaml(after)?);
    let diff = TextDiff::from_lines(&before, &after);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(CONTEXT).header("current", "after");
    Ok(unified.to_string())
}

fn masked(key: &Arc<mask::Key>, rule: Rule, object: &Value) -> Result<Value, Unshowable> {
    let bytes = object.to_string().into_bytes();
    let limit = bytes.len() * 4 + 1024;
    let mut masker = BodyMasker::new(key, rule, Some("application/json"), None, limit, true);
    masker.update(&bytes);
    match masker.finish().body {
        Body::Inline(masked) => {
            serde_json::from_str(masked.get()).map_err(|_| Unshowable::NotMasked)
        }
        _ => Err(Unshowable::NotMasked),
    }
}

/// Of a Secret, a token and the value of a variable people see that there is one. What is hidden in anything else that is
/// new, for its looks or its telling name, must be no more than a secret.
fn check_disguise(
    key: &mask::Key,
    rule: &Rule,
    before: Option<&Value>,
    object: &Value,
    shown: &Value,
) -> Result<(), Disguised> {
    if rule.hides_all() {
        return Ok(());
    }
    let check = Check { key };
    check.value("", before, object, shown)
}

struct Check<'k> {
    key: &'k mask::Key,
}

impl Check<'_> {
    /// Behind this name, or in a list behind it.
    fn value(
        &self,
        name: &str,
        before: Option<&Value>,
        object: &Value,
        shown: &Value,
    ) -> Result<(), Disguised> {
        if before == Some(object) {
            return Ok(());
        }
        match (object, shown) {
            (Value::String(text), Value::String(shown)) => self.text(name, text, shown),
            (Value::Array(elements), Value::Array(shown)) => {
                self.elements(name, before, elements, shown)
            }
            (Value::Object(members), Value::Object(shown)) => {
                self.members(name, before, members, shown)
            }
            _ => Ok(()),
        }
    }

    fn text(&self, name: &str, text: &str, shown: &str) -> Result<(), Disguised> {
        let by_looks = || mask::whole_text(self.key, text).get() == shown;
        let by_name =
            || mask::is_telling(name.as_bytes()) && self.key.placeholder(text.as_bytes()) == shown;
        match mask::is_disguise(text, shown) && (by_looks() || by_name()) {
            true => Err(Disguised),
            false => Ok(()),
        }
    }

    fn elements(
        &self,
        name: &str,
        before: Option<&Value>,
        elements: &[Value],
        shown: &[Value],
    ) -> Result<(), Disguised> {
        let before = before
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut pairs = elements.iter().zip(shown).enumerate();
        pairs.try_for_each(|(index, (element, shown))| {
            // It may have moved.
            let same = before.iter().find(|before| *before == element);
            let before = same.or_else(|| before.get(index));
            self.value(name, before, element, shown)
        })
    }

    fn members(
        &self,
        name: &str,
        before: Option<&Value>,
        members: &Map<String, Value>,
        shown: &Map<String, Value>,
    ) -> Result<(), Disguised> {
        let is_variable = |member: &str| name == "env" && member == "value";
        let mut others = members.iter().filter(|(member, _)| !is_variable(member));
        others.try_for_each(|(member, value)| {
            let before = before.and_then(|before| before.get(member));
            // Else the name itself is hidden.
            let shown = shown.get(member).ok_or(Disguised)?;
            self.value(member, before, value, shown)
        })
    }
}

/// Without what the API server keeps for itself, and without a second copy of the object; whether that changes is seen.
fn tidied(key: &mask::Key, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        let copy = metadata
            .get_mut("annotations")
            .and_then(|annotations| annotations.get_mut(LAST_APPLIED));
        if let Some(Value::String(copy)) = copy {
            *copy = key.placeholder(copy.as_bytes());
        }
    }
    object
}

/// The lines of a diff, with the beginning alone of those that stay as they are.
fn shortened(diff: &str) -> String {
    let mut shortened = String::with_capacity(diff.len());
    for line in diff.lines() {
        match line.starts_with(' ') && line.len() > FOLDED {
            true => {
                shortened.push_str(&line[..line.floor_char_boundary(FOLDED)]);
                shortened.push_str(&format!("… ({} bytes that stay)", line.len()));
            }
            false => shortened.push_str(line),
        }
        shortened.push('\n');
    }
    shortened
}

/// What it is first, then what it says, and what is noted on it last.
fn yaml(value: &Value) -> Result<String, Unshowable> {
    let one = |value: &Value| serde_saphyr::to_string(value).map_err(|_| Unshowable::NotMasked);
    let members = match value.as_object() {
        Some(members) if !members.is_empty() => members,
        _ => return one(value),
    };
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| match name.as_str() {
        "apiVersion" | "kind" => 0,
        "metadata" => 2,
        "status" => 3,
        _ => 1,
    });
    let members = members.into_iter().map(|(name, value)| {
        let member = Map::from_iter([(name.clone(), value.clone())]);
        one(&Value::Object(member))
    });
    members.collect()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MOST));
    text.push_str("\n… the rest of it goes, too, and is too long to be shown here\n");
    text
}

#[cfg(test)]
mod tests;
