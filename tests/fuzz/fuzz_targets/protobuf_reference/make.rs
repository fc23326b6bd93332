//! Messages with any fields that Kubernetes can hold.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// How deep messages are in each other.
const DEPTH: u32 = 24;

/// As far as the choices go.
pub(crate) fn message(
    descriptor: &MessageDescriptor,
    choices: &mut Unstructured<'_>,
    depth: u32,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if choices.is_empty() {
            break;
        }
        if let Ok(Some(value)) = maybe(descriptor, &field, choices, depth) {
            message.set_field(&field, value);
        }
        if is_complete(descriptor.name(), &message) {
            break;
        }
    }
    message
}

/// Of two that stand for each other one is given.
fn is_complete(name: &str, message: &DynamicMessage) -> bool {
    matches!(
        name,
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray"
    ) && message.fields().next().is_some()
}

fn maybe(
    descriptor: &MessageDescriptor,
    field: &FieldDescriptor,
    choices: &mut Unstructured<'_>,
    depth: u32,
) -> Result<Option<Value>> {
    if !choices.ratio(1, 2 + depth)? || depth == DEPTH {
        return Ok(None);
    }
    if let Some(special) = special(descriptor.name(), field.name(), choices)? {
        return Ok(Some(special));
    }
    if field.is_map() {
        return entries(field, choices, depth).map(Some);
    }
    if field.is_list() {
        let values =
            (0..choices.int_in_range(0..=3)?).map(|_| value(&field.kind(), choices, depth));
        return Ok(Some(Value::List(values.collect::<Result<_>>()?)));
    }
    value(&field.kind(), choices, depth).map(Some)
}

/// What a field can hold besides what its type says.
fn special(message: &str, field: &str, choices: &mut Unstructured<'_>) -> Result<Option<Value>> {
    Ok(Some(match (message, field) {
        ("Time" | "MicroTime", "seconds") => {
            let zero = choices.ratio(1, 8)?;
            let any = choices.int_in_range(-62_135_596_800..=253_402_207_200)?;
            Value::I64(if zero { -62_135_596_800 } else { any })
        }
        ("Time" | "MicroTime", "nanos") => Value::I32(choices.int_in_range(0..=999_999_999)?),
        ("IntOrString", "type") => Value::I64(choices.int_in_range(0..=1)?),
        ("FieldsV1" | "JSON" | "RawExtension", _) => {
            let documents = [
                r#"{"f:a":{"k":[1]}}"#,
                "\"a\"",
                "[]",
                " 1 ",
                "null",
                "{\"a\":\"\\u0041\"}",
            ];
            Value::Bytes(choices.choose(&documents)?.as_bytes().into())
        }
        _ => return Ok(None),
    }))
}

fn entries(field: &FieldDescriptor, choices: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    let Kind::Message(entry) = field.kind() else {
        return Err(libfuzzer_sys::arbitrary::Error::IncorrectFormat);
    };
    let kind = entry.map_entry_value_field().kind();
    let mut entries = std::collections::HashMap::new();
    for _ in 0..choices.int_in_range(0..=3)? {
        let key = MapKey::String(choices.arbitrary()?);
        entries.insert(key, value(&kind, choices, depth)?);
    }
    Ok(Value::Map(entries))
}

fn value(kind: &Kind, choices: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match kind {
        Kind::Bool => Value::Bool(choices.arbitrary()?),
        Kind::Int32 => Value::I32(choices.arbitrary()?),
        Kind::Int64 => Value::I64(choices.arbitrary()?),
        Kind::Double => {
            let any: f64 = choices.arbitrary()?;
            Value::F64(if any.is_finite() { any } else { 0.5 })
        }
        Kind::String => Value::String(choices.arbitrary()?),
        Kind::Bytes => Value::Bytes(choices.arbitrary::<Vec<u8>>()?.into()),
        Kind::Message(descriptor) => Value::Message(message(descriptor, choices, depth + 1)),
        other => unreachable!("Kubernetes uses no {other:?}"),
    })
}
