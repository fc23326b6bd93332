//! Finds the field that holds a placeholder while it reads, and keeps only the way to it: what is read may be as long as
//! a body may be, and every call is read, whatever becomes of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::mask::{Budget, Placeholder, TooMuchEncoded};

/// How JSON in a text in JSON may be nested: `last-applied-configuration` in itself.
const TEXTS: u32 = 4;
/// Levels below which no text is read any more. The deserializer itself allows 128 in one text.
const LEVELS: u32 = 128;
/// A name is shown to this length.
const NAME: usize = 256;

/// The way to where the reading is, as people write paths: `data.password`, `spec.containers[0].env[2].value`.
pub(super) struct Reading<'b> {
    path: String,
    found: bool,
    budget: &'b mut Budget,
    /// Nobody can tell what is in the rest.
    is_spent: bool,
    levels: u32,
    texts: u32,
}

impl<'b> Reading<'b> {
    /// The first field that has a placeholder in it; `None` where there is none, or the text breaks off before one, or
    /// what is encoded in the fields before it is more than the budget allows.
    pub(super) fn field<'de, D: Deserializer<'de>>(
        deserializer: D,
        budget: &'b mut Budget,
    ) -> Option<String> {
        let mut reading = Self::new(budget);
        reading.read(deserializer);
        reading.found.then_some(reading.path)
    }

    fn new(budget: &'b mut Budget) -> Self {
        Self {
            path: String::new(),
            found: false,
            budget,
            is_spent: false,
            levels: 0,
            texts: 0,
        }
    }

    /// An error ends the reading where something is found, and where the text is none.
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) {
        let _ends = Element(self).deserialize(deserializer);
    }

    fn name(&mut self, name: &str) {
        let end = name.floor_char_boundary(NAME);
        step(&mut self.path, &name[..end]);
        self.found = self.holds(name);
    }

    fn text(&mut self, text: &str) {
        if !self.holds(text) {
            return;
        }
        if self.texts < TEXTS && self.levels < LEVELS && text.trim_start().starts_with(['{', '[']) {
            self.inside(text);
        }
        self.found = true;
    }

    fn holds(&mut self, text: &str) -> bool {
        let found = Placeholder::find_for(text.as_bytes(), self.budget);
        self.is_spent |= found == Err(TooMuchEncoded);
        found.is_ok_and(|found| found.is_some())
    }

    fn inside(&mut self, text: &str) {
        let mut inner = Reading {
            levels: self.levels,
            texts: self.texts + 1,
            ..Reading::new(self.budget)
        };
        inner.read(&mut serde_json::Deserializer::from_str(text));
        if inner.found {
            self.path.push_str(", in it ");
            self.path.push_str(&inner.path);
        }
    }

    fn stop<E: Error>(&self) -> Result<(), E> {
        match self.found || self.is_spent {
            true => Err(E::custom("read far enough")),
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
struct Element<'r, 'b>(&'r mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
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
struct Name<'r, 'b>(&'r mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
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
        let mut budget = Budget::of(body.as_bytes());
        let mut reading = Reading::new(&mut budget);
        reading.read(&mut serde_json::Deserializer::from_str(&body));
        assert!(!reading.found);
        assert!(reading.kept() < 4 << 10, "{}", reading.kept());
    }
}
