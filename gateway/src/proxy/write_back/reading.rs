//! Finds the field that holds a placeholder while it reads, and keeps only the way to it: what is read may be as long as
//! a body may be, and every call is read, whatever becomes of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::mask::Placeholder;

/// How JSON in a text in JSON may be nested: `last-applied-configuration` in itself.
const TEXTS: u32 = 4;
/// Levels below which no text is read any more. The deserializer itself allows 128 in one text.
const LEVELS: u32 = 128;
/// A name is shown to this length.
const NAME: usize = 256;

/// The way to where the reading is, as people write paths: `data.password`, `spec.containers[0].env[2].value`.
#[derive(Default)]
pub(super) struct Reading {
    path: String,
    found: bool,
    levels: u32,
    texts: u32,
}

impl Reading {
    /// The first field that has a placeholder in it; `None` where there is none, or the text breaks off before one.
    pub(super) fn field<'de, D: Deserializer<'de>>(deserializer: D) -> Option<String> {
        let mut reading = Self::default();
        reading.read(deserializer);
        reading.found.then_some(reading.path)
    }

    /// An error ends the reading where something is found, and where the text is none.
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) {
        let _ends = Element(self).deserialize(deserializer);
    }

    fn name(&mut self, name: &str) {
        let end = name.floor_char_boundary(NAME);
        step(&mut self.path, &name[..end]);
        self.found = Placeholder::find(name.as_bytes()).is_some();
    }

    fn text(&mut self, text: &str) {
        if Placeholder::find(text.as_bytes()).is_none() {
            return;
        }
        if self.texts < TEXTS && self.levels < LEVELS && text.trim_start().starts_with(['{', '[']) {
            self.inside(text);
        }
        self.found = true;
    }

    fn inside(&mut self, text: &str) {
        let mut inner = Self {
            levels: self.levels,
            texts: self.texts + 1,
            ..Self::default()
        };
        inner.read(&mut serde_json::Deserializer::from_str(text));
        if inner.found {
            self.path.push_str(", in it ");
            self.path.push_str(&inner.path);
        }
    }

    fn stop<E: Error>(&self) -> Result<(), E> {
        match self.found {
            true => Err(E::custom("found")),
            false => Ok(()),
        }
    }

    #[cfg(test)]
    fn kept(&self) -> usize {
        self.path.capacity()
    }
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

/// A value at the path.
struct Element<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        self.0.stop()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let reading = self.0;
        let before = reading.path.len();
        reading.levels += 1;
        for index in 0_usize.. {
            reading.path.push_str(&format!("[{index}]"));
            if elements.next_element_seed(Element(reading))?.is_none() {
                break;
            }
            reading.path.truncate(before);
        }
        reading.path.truncate(before);
        reading.levels -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let reading = self.0;
        let before = reading.path.len();
        reading.levels += 1;
        while members.next_key_seed(Name(reading))?.is_some() {
            members.next_value_seed(Element(reading))?;
            reading.path.truncate(before);
        }
        reading.levels -= 1;
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member, which becomes the end of the path.
struct Name<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.name(name);
        self.0.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_read_without_keeping_any_of_it() {
        let objects = r#"{"a":0,"b":{"c":["\u00e9"]}},"#.repeat(100_000);
        let long = "n".repeat(1 << 20);
        let body = format!(r#"[{objects}{{"{long}":{{"{long}":null}}}}]"#);
        let mut reading = Reading::default();
        reading.read(&mut serde_json::Deserializer::from_str(&body));
        assert!(!reading.found);
        assert!(reading.kept() < 4 << 10, "{}", reading.kept());
    }
}
