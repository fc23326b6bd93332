//! The manifest in a release of helm's: a stream of YAML documents, each an object.
//!
//! helm, Kubernetes and YAML itself do not agree on everything that parts documents. Where they might not, there is
//! nothing to show.

use std::{borrow::Cow, fmt::Write as _};

use serde::{Deserialize, de::IgnoredAny};

use super::yaml::LINE_BREAKS;

/// No chart has so many objects.
const DOCUMENTS: usize = 2000;
/// Longer than any path in a chart.
const SOURCE: usize = 512;

/// What helm writes above each object.
const SOURCE_LINE: &str = "# Source: ";

pub(super) struct Document<'m> {
    /// The chart's file that it is from.
    pub(super) source: Option<&'m str>,
    pub(super) body: &'m str,
}

/// Which object a document is, and whether helm removes it.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: String,
    pub(super) kind: String,
    #[serde(default)]
    metadata: Metadata,
    /// Of a list: what is in it is of any kind.
    #[serde(default)]
    items: Option<IgnoredAny>,
    #[serde(default)]
    rows: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    annotations: Option<Annotations>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Annotations {
    #[serde(default, rename = "helm.sh/resource-policy")]
    policy: Option<String>,
}

impl Head {
    pub(super) fn of(json: &[u8]) -> Option<Self> {
        let head: Self = serde_json::from_slice(json).ok()?;
        (head.items.is_none() && head.rows.is_none()).then_some(head)
    }
}

/// Those that have something in them; `None` where it cannot be told, or they are too many.
pub(super) fn documents(stream: &str) -> Option<Vec<Document<'_>>> {
    if stream.replace("\r\n", "").contains('\r') || stream.contains(LINE_BREAKS) {
        return None;
    }
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in stream.split_inclusive('\n') {
        if is_separator(line)? {
            found.extend(document(&stream[start..at]));
            start = at + line.len();
        }
        at += line.len();
        if found.len() > DOCUMENTS {
            return None;
        }
    }
    found.extend(document(&stream[start..]));
    (found.len() <= DOCUMENTS).then_some(found)
}

/// `None` where some take it for one, and some do not.
fn is_separator(line: &str) -> Option<bool> {
    if line.starts_with('%') || line.starts_with("...") {
        return None;
    }
    let Some(rest) = line.strip_prefix("---") else {
        return Some(false);
    };
    rest.trim().is_empty().then_some(true)
}

fn document(text: &str) -> Option<Document<'_>> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#') || line.trim().is_empty();
    text.lines().find(|line| !is_comment(line))?;
    let mut above = text.lines().take_while(is_comment);
    Some(Document {
        source: above.find_map(source),
        body: text,
    })
}

fn source(line: &str) -> Option<&str> {
    let path = line.strip_prefix(SOURCE_LINE)?.trim_end();
    let in_paths = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    (path.len() <= SOURCE && path.bytes().all(in_paths)).then_some(path)
}

/// A document in the stream again: JSON is YAML.
pub(super) fn written(source: Option<&str>, json: &str) -> String {
    let source = source.map_or_else(String::new, |path| format!("{SOURCE_LINE}{path}\n"));
    format!("---\n{source}{}\n", readable(json))
}

/// With escapes for what JSON may have in a text, and YAML may not or takes for the end of a line.
fn readable(json: &str) -> Cow<'_, str> {
    let is_unreadable = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') || LINE_BREAKS.contains(&c)
    };
    if !json.contains(is_unreadable) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_unreadable(c) {
            let _never_fails = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stream: &str) -> Option<Vec<(Option<&str>, &str)>> {
        let documents = documents(stream)?.into_iter();
        Some(
            documents
                .map(|document| (document.source, document.body))
                .collect(),
        )
    }

    #[test]
    fn a_stream_is_its_documents_and_where_they_are_from() {
        let stream = "---\n# Source: web/templates/a.yaml\na: 1\n---\r\n# nothing but words\n--- \nb: 2\n# Source: no/comment/of/helms\n";
        let a = (
            Some("web/templates/a.yaml"),
            "# Source: web/templates/a.yaml\na: 1\n",
        );
        let b = (None, "b: 2\n# Source: no/comment/of/helms\n");
        assert_eq!(parts(stream), Some(vec![a, b]));
        assert_eq!(parts(""), Some(vec![]));
    }

    #[test]
    fn a_stream_that_may_be_parted_in_two_ways_is_none() {
        for stream in [
            "a: 1\n---b: 2\n",
            "a: 1\n--- {b: 2}\n",
            "a: 1\n--- # words\nb: 2\n",
            "a: 1\n...\nb: 2\n",
            "%YAML 1.1\n---\na: 1\n",
            "a: 1\r---\rb: 2\n",
            "a: 1 # \u{2028}b: 2\n",
        ] {
            assert_eq!(parts(stream), None, "{stream:?}");
        }
        assert!(parts(&"---\na: 1\n".repeat(DOCUMENTS)).is_some());
        assert_eq!(parts(&"---\na: 1\n".repeat(DOCUMENTS + 1)), None);
    }

    #[test]
    fn what_is_no_path_is_no_source() {
        for line in ["# Source: a b", "# Source: pass=word", "# source: a"] {
            assert_eq!(parts(&format!("{line}\na: 1\n")).unwrap()[0].0, None);
        }
    }

    #[test]
    fn what_yaml_would_end_a_line_at_is_escaped() {
        let json = "{\"a\":\"\u{85}\u{2028}\u{7f}\u{feff}é\u{1f511}\"}";
        let text = written(Some("a/b.yaml"), json);
        assert_eq!(
            text,
            "---\n# Source: a/b.yaml\n{\"a\":\"\\u0085\\u2028\\u007f\\ufeffé\u{1f511}\"}\n"
        );
    }

    #[test]
    fn what_names_no_object_or_several_has_no_head() {
        for json in [
            "[]",
            "{}",
            r#"{"kind":"Pod"}"#,
            r#"{"apiVersion":"v1","kind":7}"#,
            r#"{"apiVersion":"v1","kind":"List","items":[]}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":1}}"#,
        ] {
            assert_eq!(Head::of(json.as_bytes()), None, "{json}");
        }
    }
}
