//! YAML as it can be read in one way only.
//!
//! The API server reads YAML 1.1 (sigs.k8s.io/yaml): `yes` is a boolean and `0644` is 420 to it. What has one
//! meaning there and another in YAML 1.2 is refused unless it is quoted; so are anchors, aliases, merge keys, tags,
//! directives and a second document. What is written as JSON is read as JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{
    Options, Spanned,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

use super::{Unreadable, json};
use crate::mask::LINE_BREAKS;

/// Values in a document; with their text they stay below what its JSON may take.
const NODES: usize = 100_000;
const DEPTH: usize = 48;

pub(super) fn read(bytes: &[u8], weight: usize) -> Result<Value, Unreadable> {
    match json::read(bytes, weight) {
        Err(Unreadable::Json(_)) => {}
        read => return read,
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
    if text.contains(LINE_BREAKS) {
        return Err(refused(
            "it has a line break that only YAML 1.1 takes for one (U+0085, U+2028 or U+2029)",
        ));
    }
    refuse_directives_and_tags(text)?;
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| refused(&explained(&error)))?;
    Source(text).value(node)
}

fn refused(problem: &str) -> Unreadable {
    Unreadable::Yaml(problem.to_owned())
}

/// Where the problem is: the parser's own words may repeat what is there.
fn explained(error: &serde_saphyr::Error) -> String {
    let place = error.location().map_or_else(String::new, |place| {
        format!(" at line {}, column {}", place.line(), place.column())
    });
    format!(
        "there is an error{place}, or one of what the gateway does not read: anchors, aliases, merge keys, tags, \
         a field that is given twice, a second document"
    )
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 0,
            max_aliases: 0,
            max_documents: 1,
            max_nodes: NODES,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A tag gives a scalar another type than it looks like.
fn refuse_directives_and_tags(text: &str) -> Result<(), Unreadable> {
    if text.lines().any(|line| line.starts_with('%')) {
        return Err(refused("a line begins with '%', which is a directive"));
    }
    let begins = |at: usize| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|before| before.is_whitespace() || "[{,:?-".contains(before))
    };
    let tagged = ["!!", "!<"];
    let mut tags = tagged.iter().flat_map(|tag| text.match_indices(tag));
    match tags.find(|(at, _)| begins(*at)) {
        Some(_) => Err(refused("a tag (\"!!\") gives a value another type")),
        None => Ok(()),
    }
}

enum Node {
    Null,
    Bool(bool),
    Integer(Number),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Self>>),
    Object(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// What a node was read from.
struct Source<'t>(&'t str);

impl Source<'_> {
    fn value(&self, node: Spanned<Node>) -> Result<Value, Unreadable> {
        let written = self.written(&node);
        Ok(match node.value {
            Node::Null => plain(written, &["", "~", "null", "Null", "NULL"], Value::Null)?,
            Node::Bool(value) => plain(
                written,
                &["true", "True", "TRUE", "false", "False", "FALSE"],
                Value::Bool(value),
            )?,
            Node::Integer(number) => Value::Number(same(written, number)?),
            Node::Float(number) => Value::Number(float(written, number)?),
            Node::Text(text) => Value::String(unambiguous(written, text)?),
            Node::List(nodes) => {
                let values = nodes.into_iter().map(|node| self.value(node));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            Node::Object(members) => Value::Object(self.object(members)?),
        })
    }

    fn object(
        &self,
        members: Vec<(Spanned<String>, Spanned<Node>)>,
    ) -> Result<Map<String, Value>, Unreadable> {
        let mut object = Map::new();
        for (name, node) in members {
            let name = unambiguous(self.written(&name), name.value)?;
            if object.contains_key(&name) {
                return Err(refused(&format!("the field {name:?} is given twice")));
            }
            object.insert(name, self.value(node)?);
        }
        Ok(object)
    }

    /// The text of a scalar, with its quotes.
    fn written<T>(&self, node: &Spanned<T>) -> &str {
        let span = node.referenced.span();
        let written = || {
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let length = usize::try_from(span.byte_len()?).ok()?;
            self.0.get(start..start.checked_add(length)?)
        };
        written().unwrap_or("!").trim()
    }
}

fn plain(written: &str, spellings: &[&str], value: Value) -> Result<Value, Unreadable> {
    if spellings.contains(&written) {
        return Ok(value);
    }
    Err(ambiguous(written))
}

fn same(written: &str, number: Number) -> Result<Number, Unreadable> {
    if number.to_string() == written {
        return Ok(number);
    }
    Err(ambiguous(written))
}

/// As JSON would have it: `.5`, `1.` and `+1.5` are numbers of YAML alone.
fn float(written: &str, number: f64) -> Result<Number, Unreadable> {
    let is_json = serde_json::from_str::<f64>(written).is_ok_and(|read| read == number);
    json::exact(number)
        .filter(|_| is_json)
        .ok_or_else(|| ambiguous(written))
}

/// A text that is quoted, or that no version of YAML takes for something else.
fn unambiguous(written: &str, text: String) -> Result<String, Unreadable> {
    let quoted = written.starts_with(['"', '\'', '|', '>']);
    if !quoted && (written.starts_with(['!', '&', '*']) || means_something_else(&text)) {
        return Err(ambiguous(&text));
    }
    Ok(text)
}

/// Without what is written there, which may be a secret.
fn ambiguous(written: &str) -> Unreadable {
    Unreadable::Yaml(format!(
        "a value of {} characters is read differently by YAML 1.1 and 1.2; put it in quotes, or write it as JSON does",
        written.chars().count()
    ))
}

fn means_something_else(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", "<<", "=", ".nan",
        ".inf", "+.inf", "-.inf",
    ];
    words.contains(&lower.as_str()) || is_number(&lower.replace('_', "")) || is_date(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bytes = digits.as_bytes();
    if !bytes
        .first()
        .is_some_and(|first| first.is_ascii_digit() || *first == b'.')
    {
        return false;
    }
    let prefixed = bytes[0] == b'0'
        && bytes.len() > 1
        && matches!(bytes[1], b'x' | b'o' | b'b' | b'0'..=b'9')
        && bytes[2..].iter().all(u8::is_ascii_hexdigit);
    prefixed || digits.parse::<f64>().is_ok() || is_sexagesimal(digits)
}

/// `1:30` is 90 in YAML 1.1.
fn is_sexagesimal(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let below_60 = |part: &&str| part.parse::<f32>().is_ok_and(|number| number < 60.0);
    first.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty() && rest.iter().all(below_60)
}

/// `2001-01-01` is a time in YAML 1.1.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |part: Option<&str>, length: std::ops::RangeInclusive<usize>| {
        part.is_some_and(|part| {
            length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    digits(parts.next(), 4..=4)
        && digits(parts.next(), 1..=2)
        && parts
            .next()
            .is_some_and(|day| day.starts_with(|digit: char| digit.is_ascii_digit()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Integer(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Integer(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = elements.next_element()? {
                    list.push(element);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Node::Object(object))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::proxy::content::tests::any_value;

    fn read(text: &str) -> Result<Value, Unreadable> {
        super::read(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn a_manifest_is_read() {
        let text = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  annotations: {checked: "yes", mode: '0644', "on": "1"}
spec:
  replicas: 3
  ratio: 0.5
  paused: false
  nothing: ~
  template:
    spec:
      containers:
      - name: shop
        image: registry.example/shop:1.2.3
        args: [--port=8080, -v]
        ports: [{containerPort: 8080}]
        resources: {limits: {cpu: 100m, memory: 1Gi}}
  script: |
    if ! true; then echo yes; fi
  clusterIP: 10.0.0.1
"#;
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shop", "annotations": {"checked": "yes", "mode": "0644", "on": "1"}},
            "spec": {
                "replicas": 3, "ratio": 0.5, "paused": false, "nothing": null,
                "template": {"spec": {"containers": [{
                    "name": "shop", "image": "registry.example/shop:1.2.3", "args": ["--port=8080", "-v"],
                    "ports": [{"containerPort": 8080}],
                    "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}},
                }]}},
                "script": "if ! true; then echo yes; fi\n",
                "clusterIP": "10.0.0.1",
            },
        });
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_the_versions_of_yaml_read_differently_is_refused_unless_quoted() {
        for scalar in [
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "N",
            "0644",
            "0o644",
            "0x1F",
            "0b11",
            "1_000",
            "+1",
            "1:30",
            "190:20:30",
            ".5",
            "1.",
            "1e3_0",
            "2001-01-01",
            ".inf",
            ".NaN",
            "<<",
            "=",
            "18446744073709551616",
            "-0",
            "nULL",
        ] {
            let text = format!("value: {scalar}\n");
            assert!(read(&text).is_err(), "{text}{:?}", read(&text));
            let quoted = format!("value: '{scalar}'\n");
            assert_eq!(read(&quoted), Ok(json!({ "value": scalar })), "{quoted}");
            let key = format!("{scalar}: value\n");
            assert!(read(&key).is_err(), "{key}{:?}", read(&key));
        }
    }

    #[test]
    fn what_hides_or_repeats_is_refused() {
        for text in [
            "a: &x 1\nb: *x\n",
            "a: &x {b: 1}\n",
            "a: {<<: {b: 1}}\n",
            "a: 1\n---\nb: 1\n",
            "a: 1\na: 1\n",
            "{a: 1, \"\\x61\": 2}\n",
            "a: !!str 1\n",
            "a: !!binary aGk=\n",
            "a: !<tag:yaml.org,2002:binary> aGk=\n",
            "a: [!!binary aGk=]\n",
            "a: !local 1\n",
            "a: ! 1\n",
            "%YAML 1.1\n---\na: 1\n",
            "%TAG !e! tag:yaml.org,2002:\n---\na: !e!binary aGk=\n",
            "? [a]\n: 1\n",
            "a: [\n",
            "a: 1 # \u{2028}b: 1\n",
            "a: 1 # \u{85}b: 1\n",
        ] {
            assert!(read(text).is_err(), "{text}{:?}", read(text));
        }
        assert!(super::read(b"a: \xff", 100).is_err());
        assert_eq!(read("---\na: 1\n"), Ok(json!({"a": 1})));
    }

    #[test]
    fn a_refusal_does_not_repeat_a_value() {
        let refused = read("password: swordfish\n  x: [").expect_err("it is broken");
        assert!(!refused.to_string().contains("swordfish"), "{refused}");
    }

    #[test]
    fn an_alias_bomb_and_deep_nesting_end_early() {
        let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n";
        assert!(read(bomb).is_err());
        let deep = "[".repeat(1 << 16) + &"]".repeat(1 << 16);
        assert!(read(&deep).is_err());
        let block: String = (0..200).map(|depth| " ".repeat(depth) + "a:\n").collect();
        assert!(read(&block).is_err());
    }

    proptest! {
        #[test]
        fn json_is_yaml(value in any_value()) {
            prop_assert_eq!(read(&value.to_string()), Ok(value));
        }

        #[test]
        fn a_written_manifest_is_read_as_it_was_meant(value in any_value()) {
            let text = serde_saphyr::to_string(&value).expect("it is written");
            // What is refused would have to be quoted; what is read is what was meant.
            if let Ok(read) = read(&text) {
                prop_assert_eq!(read, value, "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            drop(read(&text));
        }
    }
}
