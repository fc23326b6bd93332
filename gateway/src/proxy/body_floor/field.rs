//! One text field of an object, wherever its format has it.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor},
};

use crate::proxy::{content::read_object, protobuf_fields as fields};

#[derive(Clone, Copy)]
pub(super) enum Format {
    Json,
    /// Or JSON, as kubectl and client-go send what they call YAML.
    Yaml,
    Protobuf,
}

/// Where a field is: its names, and its numbers.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) json: &'static [&'static str],
    pub(super) protobuf: &'static [u32],
}

impl Field {
    /// Every value the field is given; `None` where `body` cannot be read.
    pub(super) fn values(self, format: Format, body: &[u8]) -> Option<Vec<String>> {
        match format {
            Format::Json => Some(json(self.json, body)?.into_iter().collect()),
            Format::Yaml => {
                let value = json(self.json, body).or_else(|| yaml(self.json, body))?;
                Some(value.into_iter().collect())
            }
            Format::Protobuf => {
                let values = fields::values(fields::object(body)?, self.protobuf)?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Some(values.into_iter().map(text).collect())
            }
        }
    }
}

/// The API server takes the last of two fields with one name and merges objects; here the second is an
/// error. It compares names exactly, so `Type` is another field than `type`.
fn json(path: &[&str], body: &[u8]) -> Option<Option<String>> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = At(path).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

fn yaml(path: &[&str], body: &[u8]) -> Option<Option<String>> {
    let object = read_object("application/yaml", body).ok()?;
    json(path, object.to_string().as_bytes())
}

/// Reads the text at a path of names.
struct At<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return Option::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (wanted, below) = self.0.split_first().expect("the path has another name");
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != *wanted {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_none() {
                found = Some(map.next_value_seed(At(below))?);
            } else {
                return Err(A::Error::custom("a field is given twice"));
            }
        }
        Ok(found.flatten())
    }
}
