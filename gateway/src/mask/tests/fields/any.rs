//! Any paths in any object, against a slow reference that walks the tree.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::*;

/// By way of a tree; `path` is in segments, `*` is any.
fn slowly(key: &Key, value: &Value, path: &[&str]) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return hidden(key, value);
    };
    match value {
        Value::Object(members) => {
            let masked = members.iter().map(|(name, value)| {
                let is_meant = *first == "*" || name.to_lowercase() == *first;
                let masked = if is_meant {
                    slowly(key, value, rest)
                } else {
                    value.clone()
                };
                (name.clone(), masked)
            });
            Value::Object(masked.collect())
        }
        Value::Array(elements) => {
            // A path without `[*]` leads through.
            let path = if *first == "*" { rest } else { path };
            elements
                .iter()
                .map(|element| slowly(key, element, path))
                .collect()
        }
        other => other.clone(),
    }
}

fn hidden(key: &Key, value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if text.is_empty() || Placeholder::is_one(text.as_bytes()) => {
            value.clone()
        }
        Value::String(text) => key.placeholder(text.as_bytes()).into(),
        Value::Array(elements) => elements
            .iter()
            .map(|element| hidden(key, element))
            .collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), hidden(key, value)))
            .collect::<Map<_, _>>()
            .into(),
        other => key.placeholder(other.to_string().as_bytes()).into(),
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d.e", "B"];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[xy \"\\\\\u{1}é]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        let members = vec((select(&NAMES[..]), inner.clone()), 0..5);
        let object = members.prop_map(|members| {
            let members = members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            Value::Object(members.collect())
        });
        prop_oneof![object, vec(inner, 0..4).prop_map(Value::Array)]
    })
}

fn any_path() -> impl Strategy<Value = Vec<&'static str>> {
    (
        select(&NAMES[..4]),
        vec(select(&["a", "b", "c", "d.e", "*"][..]), 0..4),
    )
        .prop_map(|(first, rest)| [vec![first], rest].concat())
}

fn as_written(path: &[&str], brackets: bool) -> String {
    let segment = |name: &&str| match *name {
        "*" if brackets => "[*]".to_owned(),
        "*" => ".*".to_owned(),
        name if brackets || name.contains('.') => format!("['{name}']"),
        name => format!(".{name}"),
    };
    path.iter().map(segment).collect()
}

proptest! {
    #[test]
    fn any_path_in_any_object_is_hidden_as_in_its_tree(
        value in any_value(), paths in vec((any_path(), any::<bool>()), 1..4), pretty in any::<bool>(),
    ) {
        let document = json!({"metadata": {"name": "one"}, "a": value, "b": 1, "d.e": {"c": [value]}});
        let text = if pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
        let written: Vec<_> = paths.iter().map(|(path, brackets)| as_written(path, *brackets)).collect();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        let key = things(&written);
        let masked = recorded(&key, thing("", "one"), &text);
        let expected = paths.iter().fold(document, |document, (path, _)| slowly(&key, &document, path));
        prop_assert_eq!(&serde_json::from_str::<Value>(&masked).unwrap(), &expected);
        // Nothing else changes, to the byte.
        let printed = if pretty { serde_json::to_string_pretty(&expected).unwrap() } else { expected.to_string() };
        prop_assert_eq!(&masked, &printed);
        let seen = shown(&key, thing("", "one"), &text).unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        prop_assert_eq!(skeleton(&seen), skeleton(&expected));
    }
}

/// With one text in the place of all placeholders.
fn skeleton(value: &Value) -> Value {
    match value {
        Value::String(text) if Placeholder::is_one(text.as_bytes()) => "hidden".into(),
        Value::Array(elements) => elements.iter().map(skeleton).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), skeleton(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}
