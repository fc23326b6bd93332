//! What is hidden of an object, and why.

use std::sync::Arc;

use sallyport::{
    mask::{Body, BodyMasker, Key, Rule, View, Viewer},
    request_info::RequestInfo,
};
use serde_json::Value;

/// More than any manifest.
const LIMIT: usize = 4 << 20;
/// Hexadecimal digits of a placeholder.
const DIGITS: usize = 32;

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reason {
    /// The value of an environment variable.
    Environment,
    /// Anything in a Secret, and tokens where reviews and requests of tokens have them.
    Secret,
    /// A detector knows it: it is hidden from agents too.
    Looks,
    /// It looks random behind a telling name: it is hidden in the record alone.
    Name,
}

pub(crate) struct Finding {
    pub(crate) reason: Reason,
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) struct Masking {
    key: Arc<Key>,
    marker: String,
}

impl Default for Masking {
    fn default() -> Self {
        let key = Arc::new(Key::from_bytes([7; 32]));
        let marker = format!("masked:{}:", key.id());
        Self { key, marker }
    }
}

impl Reason {
    pub(crate) const ALL: [Self; 4] = [Self::Environment, Self::Secret, Self::Looks, Self::Name];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Secret => "Secrets",
            Self::Looks => "by looks",
            Self::Name => "by name",
        }
    }

    /// Whether it can be wrong.
    pub(crate) fn is_judged(self) -> bool {
        matches!(self, Self::Looks | Self::Name)
    }
}

impl Masking {
    /// None where the object is not recorded.
    pub(crate) fn findings(&self, object: &Value) -> Option<Vec<Finding>> {
        let rule = rule(object);
        let text = object.to_string();
        let recorded = self.recorded(rule.clone(), text.as_bytes())?;
        let shown = self.shown(rule, text.as_bytes())?;
        let mut comparison = Comparison {
            marker: &self.marker,
            path: Vec::new(),
            in_secret: false,
            findings: Vec::new(),
        };
        comparison.values(object, &recorded, &shown);
        Some(comparison.findings)
    }

    fn recorded(&self, rule: Rule, json: &[u8]) -> Option<Value> {
        let mut masker = BodyMasker::new(&self.key, rule, None, None, LIMIT, true);
        masker.update(json);
        match masker.finish().body {
            Body::Inline(text) => serde_json::from_str(text.get()).ok(),
            _ => None,
        }
    }

    fn shown(&self, rule: Rule, json: &[u8]) -> Option<Value> {
        let viewer = Arc::new(Viewer::new(&self.key, "an agent", "a session", &[]));
        let mut view = View::new(&self.key, rule, viewer);
        let mut seen = view.update(json).ok()?;
        seen.extend(view.finish().ok()?.rest);
        serde_json::from_slice(&seen).ok()
    }
}

/// Of the resource that an object is one of; which of two plurals it has makes no difference.
fn rule(object: &Value) -> Rule {
    let (version, kind) = (&object["apiVersion"], &object["kind"]);
    let version = version.as_str().unwrap_or_default();
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = kind.as_str().unwrap_or_default().to_lowercase();
    let target = format!("/{root}/{version}/namespaces/measured/{kind}s");
    let request = RequestInfo::parse("POST", &target)
        .or_else(|_| RequestInfo::parse("POST", "/api/v1/namespaces/measured/configmaps"));
    Rule::select(&request.expect("a target of ours"))
}

struct Comparison<'a> {
    marker: &'a str,
    path: Vec<String>,
    in_secret: bool,
    findings: Vec<Finding>,
}

impl Comparison<'_> {
    fn values(&mut self, original: &Value, recorded: &Value, shown: &Value) {
        match (original, recorded) {
            (Value::Object(members), Value::Object(_)) => {
                let was_in_secret = self.in_secret;
                self.in_secret |= ["Secret", "TokenReview", "TokenRequest"]
                    .iter()
                    .any(|kind| original["kind"] == *kind);
                for (name, value) in members {
                    self.path.push(name.clone());
                    match recorded.get(name) {
                        Some(masked) => self.values(value, masked, &shown[name]),
                        None => self.find(name, false),
                    }
                    self.path.pop();
                }
                self.in_secret = was_in_secret;
            }
            (Value::Array(items), Value::Array(_)) => {
                for (index, value) in items.iter().enumerate() {
                    self.path.push(index.to_string());
                    self.values(value, &recorded[index], &shown[index]);
                    self.path.pop();
                }
            }
            (Value::String(original), Value::String(recorded)) if original != recorded => {
                self.texts(original, recorded, shown);
            }
            (original, Value::String(_)) if !original.is_string() => {
                self.find(&original.to_string(), false);
            }
            _ => {}
        }
    }

    /// An object may be written in a text, as in `last-applied-configuration`.
    fn texts(&mut self, original: &str, recorded: &str, shown: &Value) {
        let object = |text: &str| serde_json::from_str(text).ok().filter(Value::is_object);
        if let (Some(original), Some(recorded)) = (object(original), object(recorded)) {
            let shown = shown.as_str().and_then(object).unwrap_or_default();
            return self.values(&original, &recorded, &shown);
        }
        let is_shown = shown.as_str() == Some(original);
        for text in self.hidden(original, recorded) {
            self.find(&text, is_shown);
        }
    }

    fn find(&mut self, text: &str, is_shown: bool) {
        let reason = match &*self.path {
            _ if self.in_secret => Reason::Secret,
            [.., list, _, value] if list == "env" && value == "value" => Reason::Environment,
            _ if is_shown => Reason::Name,
            _ => Reason::Looks,
        };
        self.findings.push(Finding {
            reason,
            path: self.path.join("/"),
            text: text.to_owned(),
        });
    }

    /// What placeholders stand for, by the texts between them.
    fn hidden(&self, original: &str, recorded: &str) -> Vec<String> {
        let mut kept = recorded.split(self.marker);
        let mut rest = original
            .strip_prefix(kept.next().unwrap_or_default())
            .unwrap_or(original);
        let mut hidden = Vec::new();
        let mut kept = kept
            .map(|piece| piece.get(DIGITS..).unwrap_or_default())
            .peekable();
        while let Some(behind) = kept.next() {
            let end = match kept.peek() {
                _ if behind.is_empty() => rest.len(),
                None => rest.len().saturating_sub(behind.len()),
                Some(_) => rest.find(behind).unwrap_or(rest.len()),
            };
            hidden.push(rest[..end].to_owned());
            rest = &rest[(end + behind.len()).min(rest.len())..];
        }
        hidden
    }
}
