//! YAML, which has to be read whole: what stands for a value may be written far before it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Options;

use super::scanner::Refused;

/// As much as is recorded of a body.
const LIMIT: usize = 1 << 20;
const NODES: usize = 200_000;
const DEPTH: usize = 100;
/// Aliases repeat what they stand for.
const ALIASES: usize = 1000;
const EXPANDED: usize = 4 << 20;

/// There the API server, which reads YAML 1.1, takes a comment for ended, and what follows counts.
pub const LINE_BREAKS: [char; 4] = ['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];

/// What is written as JSON, as kubectl writes its apply patches, is handed on as it comes.
pub(super) enum Yaml {
    /// Spaces so far.
    Start(Vec<u8>),
    Json,
    Text(Vec<u8>),
}

impl Default for Yaml {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

impl Yaml {
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut json: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut text = match self {
            Self::Json => return json(chunk),
            Self::Start(text) | Self::Text(text) => std::mem::take(text),
        };
        if text.len() + chunk.len() > LIMIT {
            return Err(Refused::TooLong);
        }
        text.extend_from_slice(chunk);
        *self = match text.trim_ascii_start().first() {
            None => Self::Start(text),
            Some(b'{' | b'[') => {
                *self = Self::Json;
                return json(&text);
            }
            Some(_) => Self::Text(text),
        };
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        mut json: impl FnMut(&[u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match std::mem::take(self) {
            Self::Start(_) | Self::Json => Ok(()),
            Self::Text(text) => json(&to_json(&text)?),
        }
    }
}

/// Members stay in their order, so that an object says what it is where its author said it.
fn to_json(text: &[u8]) -> Result<Vec<u8>, Refused> {
    let text = std::str::from_utf8(text).map_err(|_| Refused::Malformed)?;
    json_of(text, options())
}

/// A document as helm reads it, which is YAML 1.1: `yes` is a boolean and `0644` is 420. A name that is one of these is
/// refused.
pub(super) fn as_helm_reads(text: &str) -> Result<Vec<u8>, Refused> {
    match text.len() > LIMIT {
        true => Err(Refused::TooLong),
        false => json_of(text, of_helm()),
    }
}

/// Whether every version of YAML reads the same in it.
pub(super) fn is_unambiguous(text: &str) -> bool {
    let read = as_helm_reads(text);
    read.is_ok() && read == json_of(text, options())
}

fn json_of(text: &str, options: Options) -> Result<Vec<u8>, Refused> {
    if text.contains(LINE_BREAKS) {
        return Err(Refused::Malformed);
    }
    let mut json = Vec::with_capacity(text.len());
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| {
        Written(&mut json).deserialize(document)
    });
    match read {
        Ok(()) => Ok(json),
        Err(_) => Err(Refused::Malformed),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: ALIASES,
            max_aliases: ALIASES,
            max_documents: 1,
            max_nodes: NODES,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

fn of_helm() -> Options {
    let mut options = options();
    options.strict_booleans = false;
    options.legacy_octal_numbers = true;
    options.leading_zero_numbers_as_strings = false;
    options.underscored_numbers_as_strings = false;
    options.no_schema = true;
    options.reject_unsupported_tags = true;
    options
}

/// Writes what it reads.
struct Written<'j>(&'j mut Vec<u8>);

impl Written<'_> {
    fn push<E: Error>(self, json: &[u8]) -> Result<(), E> {
        if self.0.len() + json.len() > EXPANDED {
            return Err(E::custom("too long"));
        }
        self.0.extend_from_slice(json);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.push(b"null")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.push(b"null")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(value.to_string().as_bytes())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(value.to_string().as_bytes())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(value.to_string().as_bytes())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match Number::from_f64(value) {
            Some(number) => self.push(number.to_string().as_bytes()),
            None => self.visit_str(&value.to_string()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.push(serde_json::Value::from(text).to_string().as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        Written(self.0).push(b"[")?;
        let mut first = true;
        loop {
            let mark = self.0.len();
            if !std::mem::take(&mut first) {
                Written(self.0).push(b",")?;
            }
            if elements.next_element_seed(Written(self.0))?.is_none() {
                self.0.truncate(mark);
                return self.push(b"]");
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        Written(self.0).push(b"{")?;
        let mut first = true;
        while let Some(name) = members.next_key::<String>()? {
            if !std::mem::take(&mut first) {
                Written(self.0).push(b",")?;
            }
            Written(self.0).visit_str::<A::Error>(&name)?;
            Written(self.0).push(b":")?;
            members.next_value_seed(Written(self.0))?;
        }
        self.push(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(yaml: &str) -> Result<String, Refused> {
        to_json(yaml.as_bytes()).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn a_document_becomes_the_json_of_the_same_members_in_the_same_order() {
        let yaml =
            "kind: Pod\nb: [1, -2.5, true, ~]\na: |\n  two\n  lines\nc: {d: \"e\\n\", 1: []}\n";
        assert_eq!(
            json(yaml).as_deref(),
            Ok(
                r#"{"kind":"Pod","b":[1,-2.5,true,null],"a":"two\nlines\n","c":{"d":"e\n","1":[]}}"#
            )
        );
    }

    #[test]
    fn what_an_alias_stands_for_is_written_out() {
        let yaml = "a: &a {k: v}\nb: *a\nc: {<<: *a, d: e}\n";
        assert_eq!(
            json(yaml).as_deref(),
            Ok(r#"{"a":{"k":"v"},"b":{"k":"v"},"c":{"d":"e","k":"v"}}"#)
        );
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            yaml += &format!("a{level}: &a{level} [{inner}]\n");
        }
        assert_eq!(json(&yaml), Err(Refused::Malformed));
    }

    fn read_by_helm(yaml: &str) -> Option<(String, bool)> {
        let json = String::from_utf8(as_helm_reads(yaml).ok()?).unwrap();
        Some((json, is_unambiguous(yaml)))
    }

    #[test]
    fn helm_reads_the_yaml_of_before() {
        for (yaml, json, is_unambiguous) in [
            ("a: yes", r#"{"a":true}"#, false),
            ("a: [Off, 'on']", r#"{"a":[false,"on"]}"#, false),
            ("mode: 0644", r#"{"mode":420}"#, false),
            ("a: 1_000", r#"{"a":1000}"#, false),
            ("a: '0644'", r#"{"a":"0644"}"#, true),
            ("'on': 'yes'", r#"{"on":"yes"}"#, true),
            ("'80': true", r#"{"80":true}"#, true),
            (
                "a: [x, 1, 1.5, ~, \"\", 1.2.3]",
                r#"{"a":["x",1,1.5,null,"",1.2.3]}"#,
                true,
            ),
            (r#"{"a":"b","c":[{}]}"#, r#"{"a":"b","c":[{}]}"#, true),
        ] {
            let json = json.replace("1.2.3", "\"1.2.3\"");
            assert_eq!(read_by_helm(yaml), Some((json, is_unambiguous)), "{yaml}");
        }
    }

    #[test]
    fn a_name_that_helm_may_read_as_something_else_is_refused() {
        for yaml in ["on: a", "yes: a", "No: a", "a: {off: b}", "0644: a"] {
            assert_eq!(read_by_helm(yaml), None, "{yaml}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for yaml in [
            "a: 1\na: 2\n",
            "a: 1\n---\nb: 2\n",
            "a: [\n",
            "a: *b\n",
            "\"a\": \"\\xff",
            "a:\n\t- b\n",
            "a: 1 # \u{2028}b: 2\n",
        ] {
            assert!(json(yaml).is_err(), "{yaml:?}");
        }
    }
}
