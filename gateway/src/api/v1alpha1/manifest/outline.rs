//! Which line of a YAML document each field is on.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// The shape of a document without its values, names of list items excepted.
#[derive(Clone, Debug, Default)]
pub struct Outline(Vec<Field>);

#[derive(Clone, Debug)]
struct Field {
    /// As in error messages: `spec.rules[2].verbs`.
    path: String,
    line: u64,
    /// The `name` in a list item.
    name: Option<String>,
}

impl Outline {
    /// The line of `path`, or of what encloses it where it is absent.
    pub fn line(&self, path: &str) -> Option<u64> {
        let enclosing = self.0.iter().filter(|field| encloses(&field.path, path));
        enclosing
            .max_by_key(|field| field.path.len())
            .map(|field| field.line)
    }

    /// What `line` belongs to: the named list item, such as `spec.rules[2] (read-pods)`, or else the field.
    pub fn place(&self, line: u64) -> Option<String> {
        let before = |field: &&Field| field.line <= line;
        let last = self.0.iter().rfind(before)?;
        let item = self
            .0
            .iter()
            .rfind(|item| item.name.is_some() && encloses(&item.path, &last.path));
        let field = || {
            self.0
                .iter()
                .filter(before)
                .rfind(|field| !field.path.ends_with(']'))
        };
        let place = item.or_else(field)?;
        Some(match &place.name {
            Some(name) => format!("{} ({name})", place.path),
            None => place.path.clone(),
        })
    }
}

fn encloses(outer: &str, path: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let mut outline = Self::default();
        node.collect("", &mut outline.0);
        Ok(outline)
    }
}

enum Node {
    Map(Vec<(String, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    Text(String),
    Other,
}

impl Node {
    fn collect(&self, path: &str, fields: &mut Vec<Field>) {
        match self {
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                let separator = if path.is_empty() { "" } else { "." };
                add(&format!("{path}{separator}{key}"), value, fields);
            }),
            Self::List(items) => items.iter().enumerate().for_each(|(index, item)| {
                add(&format!("{path}[{index}]"), item, fields);
            }),
            Self::Text(_) | Self::Other => {}
        }
    }

    fn name(&self) -> Option<String> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries.iter().find_map(|(key, value)| match &value.value {
            Self::Text(text) if key == "name" => Some(text.clone()),
            _ => None,
        })
    }
}

fn add(path: &str, node: &Spanned<Node>, fields: &mut Vec<Field>) {
    let name = node.value.name().filter(|_| path.ends_with(']'));
    fields.push(Field {
        path: path.to_owned(),
        line: node.referenced.line(),
        name,
    });
    node.value.collect(path, fields);
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
}
