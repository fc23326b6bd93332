//! Whether JSON says what a decoded message does. It reads the JSON that the gateway writes: neither goes the other's
//! way.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value as Decoded};
use serde_json::{Map, Value};

/// Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;

pub(crate) fn is_message(message: &DynamicMessage, json: &Value) -> bool {
    match message.descriptor().name() {
        "Quantity" | "QuantityValue" => is_quantity(message, json),
        "Time" => is_time(message, json, 1_000_000),
        "MicroTime" => is_time(message, json, 1),
        "Duration" => duration(json) == Some(number(message, "duration").into()),
        "FieldsV1" | "JSON" => is_document(&bytes(message), json),
        "RawExtension" => is_extension(&bytes(message), json),
        "IntOrString" => is_int_or_string(message, json),
        "JSONSchemaPropsOrArray" => is_one_or_many(message, "jSONSchemas", json),
        "JSONSchemaPropsOrStringArray" => is_one_or_many(message, "property", json),
        "JSONSchemaPropsOrBool" => match part(message, "schema") {
            Some(schema) => is_value(&schema, json),
            None => json.as_bool() == Some(flag(message, "allows")),
        },
        _ => match json {
            Value::Array(_) => is_slice(message, json),
            Value::Object(members) => is_object(message, members),
            _ => false,
        },
    }
}

/// Every field has its member, and every member its field.
fn is_object(message: &DynamicMessage, members: &Map<String, Value>) -> bool {
    let mut read = HashSet::new();
    are_members(message, members, &mut read) && read.len() == members.len()
}

fn are_members(
    message: &DynamicMessage,
    members: &Map<String, Value>,
    read: &mut HashSet<String>,
) -> bool {
    message
        .fields()
        .all(|(field, value)| match (field.json_name(), value) {
            ("", Decoded::Message(inline)) => are_members(inline, members, read),
            (name, value) => match members.get(name) {
                Some(json) => read.insert(name.to_owned()) && is_value(value, json),
                None => is_zero(value),
            },
        })
}

fn is_value(value: &Decoded, json: &Value) -> bool {
    match value {
        Decoded::Bool(value) => json.as_bool() == Some(*value),
        Decoded::I32(value) => json.as_i64() == Some((*value).into()),
        Decoded::I64(value) => json.as_i64() == Some(*value),
        Decoded::F64(value) => json.as_f64().is_some_and(|json| is_near(*value, json)),
        Decoded::String(text) => json.as_str() == Some(text),
        Decoded::Bytes(bytes) => json.as_str() == Some(&STANDARD.encode(bytes)),
        Decoded::Message(message) => is_message(message, json),
        Decoded::List(elements) => is_list(elements, json),
        Decoded::Map(entries) => json.as_object().is_some_and(|members| {
            members.len() == entries.len()
                && entries.iter().all(|(key, value)| match key {
                    MapKey::String(key) => {
                        members.get(key).is_some_and(|json| is_value(value, json))
                    }
                    _ => false,
                })
        }),
        _ => false,
    }
}

/// serde_json reads a number to the last digit but one.
fn is_near(value: f64, json: f64) -> bool {
    (value - json).abs() <= value.abs() * 4.0 * f64::EPSILON + f64::MIN_POSITIVE
}

fn is_list(elements: &[Decoded], json: &Value) -> bool {
    json.as_array().is_some_and(|list| {
        list.len() == elements.len()
            && elements
                .iter()
                .zip(list)
                .all(|(value, json)| is_value(value, json))
    })
}

/// What Go leaves out where its tag says so. No struct is left out but a time, and that only where it has no bytes.
fn is_zero(value: &Decoded) -> bool {
    match value {
        Decoded::Bool(value) => !value,
        Decoded::I32(value) => *value == 0,
        Decoded::I64(value) => *value == 0,
        Decoded::String(text) => text.is_empty(),
        Decoded::Bytes(bytes) => bytes.is_empty(),
        Decoded::Message(message) => {
            let name = message.descriptor();
            matches!(name.name(), "Time" | "MicroTime") && message.fields().next().is_none()
        }
        _ => false,
    }
}

/// A list that has a name of its own, as `ExtraValue`.
fn is_slice(message: &DynamicMessage, json: &Value) -> bool {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    match &fields[..] {
        [items] if items.is_list() => is_value(&message.get_field(items), json),
        _ => false,
    }
}

fn is_quantity(message: &DynamicMessage, json: &Value) -> bool {
    let text = text(message, "string");
    json.as_str() == Some(if text.is_empty() { "0" } else { &text })
}

fn is_time(message: &DynamicMessage, json: &Value, unit: i128) -> bool {
    let (seconds, nanos) = (number(message, "seconds"), number(message, "nanos"));
    let is_none = message.fields().next().is_none();
    let micros = i128::from(seconds) * 1_000_000 + i128::from(nanos) / 1000;
    let Some(written) = json.as_str() else {
        return json.is_null() && (is_none || (seconds, nanos) == (ZERO_TIME, 0));
    };
    let written: Option<Timestamp> = written.parse().ok();
    written.is_some_and(|time| time.as_microsecond() as i128 == micros.div_euclid(unit) * unit)
}

fn is_document(bytes: &[u8], json: &Value) -> bool {
    match bytes {
        [] => json.is_null(),
        bytes => serde_json::from_slice::<Value>(bytes).is_ok_and(|document| document == *json),
    }
}

/// Of an envelope in it only that it has a kind: what an envelope holds is compared where it is the whole body.
fn is_extension(bytes: &[u8], json: &Value) -> bool {
    bytes.starts_with(b"k8s\0") && json["kind"].is_string() || is_document(bytes, json)
}

fn is_int_or_string(message: &DynamicMessage, json: &Value) -> bool {
    match number(message, "type") {
        0 => json.as_i64() == Some(number(message, "intVal")),
        _ => json.as_str() == Some(&text(message, "strVal")),
    }
}

fn is_one_or_many(message: &DynamicMessage, many: &str, json: &Value) -> bool {
    let one = part(message, "schema");
    match (part(message, many), one) {
        (Some(many), _) => is_value(&many, json),
        (None, Some(one)) => is_value(&one, json),
        (None, None) => json.is_null(),
    }
}

/// A field that is there.
fn part(message: &DynamicMessage, name: &str) -> Option<Decoded> {
    let is_there = message.has_field_by_name(name);
    is_there.then(|| {
        message
            .get_field_by_name(name)
            .expect("a field")
            .into_owned()
    })
}

fn number(message: &DynamicMessage, name: &str) -> i64 {
    match part(message, name) {
        Some(Decoded::I32(value)) => value.into(),
        Some(Decoded::I64(value)) => value,
        _ => 0,
    }
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    part(message, name).is_some_and(|value| value == Decoded::Bool(true))
}

fn text(message: &DynamicMessage, name: &str) -> String {
    part(message, name)
        .and_then(|value| Some(value.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// The one field of such a message.
fn bytes(message: &DynamicMessage) -> Vec<u8> {
    let value = message.fields().next();
    value
        .and_then(|(_, value)| Some(value.as_bytes()?.to_vec()))
        .unwrap_or_default()
}

/// Nanoseconds, as Go reads them.
fn duration(json: &Value) -> Option<i128> {
    let text = json.as_str()?;
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut nanos = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        nanos += in_nanos(number, unit)?;
        rest = behind;
    }
    Some(sign * nanos)
}

fn in_nanos(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "µs" => 1_000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.pow(u32::try_from(part.len()).ok()?);
    let part = if part.is_empty() {
        0
    } else {
        part.parse::<i128>().ok()?
    };
    Some(whole.parse::<i128>().ok()? * unit + part * unit / scale)
}
