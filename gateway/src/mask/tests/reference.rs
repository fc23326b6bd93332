//! Whole documents, parsed by `serde_json`, masked by recursion: slow, and nothing like the scanner.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::{Key, text::hide};

/// JSON that keeps the order of members and all of those with one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Doc {
    /// A number or literal, as written.
    Raw(String),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Select {
    Secrets,
    Tokens,
    Others,
}

pub(super) fn documents(text: &str) -> Vec<Doc> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

pub(super) struct Reference<'a> {
    pub(super) key: &'a Key,
    pub(super) select: Select,
    pub(super) nested: bool,
}

impl Reference<'_> {
    pub(super) fn mask(&self, document: &Doc) -> Doc {
        match document {
            Doc::List(elements) => Doc::List(
                elements
                    .iter()
                    .map(|element| self.object(element, false, true))
                    .collect(),
            ),
            other => self.object(other, false, false),
        }
    }

    fn object(&self, document: &Doc, inherited: bool, operation: bool) -> Doc {
        let secret = inherited
            || self.select == Select::Secrets
            || document.kinds().any(|kind| kind == "Secret");
        let lists = secret || document.kinds().any(|kind| kind == "SecretList");
        let mut path = None;
        self.map(document, secret, |name, value| {
            match &*name.to_ascii_lowercase() {
                "items" if name == "items" => {
                    self.list(value, secret, |item| self.object(item, lists, false))
                }
                "rows" if name == "rows" => self.list(value, secret, |row| {
                    self.map(row, secret, |name, value| match name {
                        "object" => self.object(value, lists, false),
                        _ => value.clone(),
                    })
                }),
                "object" if name == "object" => self.object(value, lists, false),
                "path" if operation && name == "path" => {
                    path = value.text().map(str::to_owned);
                    value.clone()
                }
                "value" if operation && secret && name == "value" => match path.as_deref() {
                    Some(path) if path.starts_with("/data") => self.bytes(value),
                    Some(path) if path.starts_with('/') && !sensitive(path) => value.clone(),
                    _ => self.replaced(value),
                },
                "value" if operation && !secret => self.object(value, false, false),
                "data" if secret => self.map(value, true, |_, value| self.bytes(value)),
                "stringdata" if secret => self.map(value, true, |_, value| self.replaced(value)),
                "metadata" => self.metadata(value, secret),
                "message" | "details"
                    if matches!(name, "message" | "details")
                        && (secret || self.select == Select::Tokens) =>
                {
                    self.replaced(value)
                }
                "message" if name == "message" => match value {
                    Doc::Text(message) => Doc::Text(hide(self.key, message)),
                    other => other.clone(),
                },
                "spec" | "status" if self.select == Select::Tokens => match value {
                    Doc::Text(_) if name == "status" => value.clone(),
                    _ => self.map(value, true, |name, value| {
                        if name.eq_ignore_ascii_case("token") {
                            self.replaced(value)
                        } else {
                            value.clone()
                        }
                    }),
                },
                _ if secret && !harmless(name, value, operation) => self.replaced(value),
                _ => value.clone(),
            }
        })
    }

    fn metadata(&self, metadata: &Doc, secret: bool) -> Doc {
        self.map(metadata, secret, |name, value| {
            if let ("managedFields", Doc::List(_)) = (name, value) {
                return Doc::List(Vec::new());
            }
            let labels = secret && name.eq_ignore_ascii_case("labels");
            if !labels && !name.eq_ignore_ascii_case("annotations") {
                let learned = [
                    "name",
                    "generateName",
                    "namespace",
                    "uid",
                    "resourceVersion",
                ];
                return if secret && learned.contains(&name) && value.is_container() {
                    self.replaced(value)
                } else {
                    value.clone()
                };
            }
            self.map(value, secret, |name, value| match name {
                _ if secret => self.replaced(value),
                "kubectl.kubernetes.io/last-applied-configuration" => self.last_applied(value),
                _ => value.clone(),
            })
        })
    }

    fn last_applied(&self, value: &Doc) -> Doc {
        let parsed = value
            .text()
            .and_then(|text| serde_json::from_str::<Doc>(text).ok());
        match parsed {
            Some(object @ Doc::Map(_)) if !self.nested => {
                let inside = Reference {
                    key: self.key,
                    select: Select::Others,
                    nested: true,
                };
                Doc::Text(inside.mask(&object).print())
            }
            _ => self.replaced(value),
        }
    }

    fn map(&self, document: &Doc, secret: bool, mut member: impl FnMut(&str, &Doc) -> Doc) -> Doc {
        match document {
            Doc::Map(members) => Doc::Map(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), member(name, value)))
                    .collect(),
            ),
            other if secret => self.replaced(other),
            other => other.clone(),
        }
    }

    fn list(&self, document: &Doc, secret: bool, element: impl FnMut(&Doc) -> Doc) -> Doc {
        match document {
            Doc::List(elements) => Doc::List(elements.iter().map(element).collect()),
            other if secret => self.replaced(other),
            other => other.clone(),
        }
    }

    fn replaced(&self, value: &Doc) -> Doc {
        match value {
            Doc::Raw(raw) if raw == "null" => value.clone(),
            Doc::Text(text) => Doc::Text(self.key.placeholder(text.as_bytes())),
            other => Doc::Text(self.key.placeholder(other.print().as_bytes())),
        }
    }

    fn bytes(&self, value: &Doc) -> Doc {
        match value {
            Doc::Text(text) => Doc::Text(self.key.placeholder_base64(text.as_bytes())),
            other => self.replaced(other),
        }
    }
}

fn sensitive(path: &str) -> bool {
    let metadata = path.starts_with("/metadata/")
        && !path.starts_with("/metadata/annotations")
        && !path.starts_with("/metadata/labels");
    !metadata && !["/apiVersion", "/kind", "/type", "/immutable"].contains(&path)
}

fn harmless(name: &str, value: &Doc, operation: bool) -> bool {
    let scalar = [
        "apiVersion",
        "code",
        "gracePeriodSeconds",
        "immutable",
        "kind",
        "orphanDependents",
        "propagationPolicy",
        "reason",
        "type",
    ];
    match name {
        "columnDefinitions" | "dryRun" | "preconditions" => true,
        "status" => matches!(value, Doc::Text(_)),
        "op" | "from" if operation => !value.is_container(),
        _ => scalar.contains(&name) && !value.is_container(),
    }
}

impl Doc {
    /// Without spaces, escaping only what must be.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Raw(raw) => raw.clone(),
            Self::Text(text) => serde_json::to_string(text).unwrap(),
            Self::List(elements) => format!(
                "[{}]",
                elements
                    .iter()
                    .map(Self::print)
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            Self::Map(members) => {
                let member = |(name, value): &(String, Self)| {
                    format!("{}:{}", serde_json::to_string(name).unwrap(), value.print())
                };
                format!(
                    "{{{}}}",
                    members.iter().map(member).collect::<Vec<_>>().join(",")
                )
            }
        }
    }

    /// How many members have this name, at any depth.
    pub(super) fn names(&self, wanted: &str) -> usize {
        match self {
            Self::Map(members) => members
                .iter()
                .map(|(name, value)| usize::from(name == wanted) + value.names(wanted))
                .sum(),
            Self::List(elements) => elements.iter().map(|element| element.names(wanted)).sum(),
            _ => 0,
        }
    }

    fn is_container(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn kinds(&self) -> impl Iterator<Item = &str> {
        let members = match self {
            Self::Map(members) => members.as_slice(),
            _ => &[],
        };
        members
            .iter()
            .filter(|(name, _)| name == "kind")
            .filter_map(|(_, value)| value.text())
    }
}

impl<'de> Deserialize<'de> for Doc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocVisitor)
    }
}

struct DocVisitor;

impl<'de> Visitor<'de> for DocVisitor {
    type Value = Doc;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Doc, E> {
        Ok(Doc::Raw("null".into()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Doc, E> {
        Ok(Doc::Raw(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Doc, E> {
        Ok(Doc::Raw(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Doc, E> {
        Ok(Doc::Raw(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Doc, E> {
        Ok(Doc::Raw(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Doc, E> {
        Ok(Doc::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Doc, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Doc::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Doc, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Doc::Map(map))
    }
}
