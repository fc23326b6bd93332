use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn placeholder(text: &str) -> String {
    key().placeholder(text.as_bytes())
}

fn inspected(json: &str) -> (String, u32) {
    let (masked, count) = inspect(&key(), None, json.as_bytes().to_vec());
    (String::from_utf8(masked).unwrap(), count)
}

#[test]
fn values_of_environment_variables_are_replaced_and_nothing_else() {
    let text = r#"{"spec":{"containers":[{"env": [ {"name":"A","value":"x"},{"value" :"y\"z","name":"B"},
        {"name":"C","valueFrom":{"secretKeyRef":{"name":"s","key":"value"}}},{"name":"D"},{"name":"E","value":""},
        {"name":"F","value":null},{"name":"G","v\u0061lue":7}],"value":"x"}],"env":{"value":"x"}},"e":"\"env\":[{\"value\":\"x\"}]"}"#;
    let expected = text
        .replace(
            r#""A","value":"x""#,
            &format!(r#""A","value":"{}""#, placeholder("x")),
        )
        .replace(r#""y\"z""#, &format!("\"{}\"", placeholder("y\"z")))
        .replace(":7}", &format!(":\"{}\"}}", placeholder("7")));
    assert_eq!(inspected(text), (expected, 3));
}

#[test]
fn an_operation_with_many_paths_and_values_is_hidden_without_trying_all_pairs() {
    let many = 2_000;
    let paths = r#""path":"/spec/env/0/value","#.repeat(many);
    let values = vec![r#""value":"x""#; many].join(",");
    let (masked, count) = inspected(&format!("[{{{paths}{values}}}]"));
    assert_eq!(count as usize, many);
    assert!(!masked.contains(r#":"x""#));
    let (masked, _) = inspected(r#"[{"path":"/a","path":"/spec/env","value":{"b":"hunter2"}}]"#);
    assert!(!masked.contains("hunter2"), "{masked}");
}

#[test]
fn the_password_of_a_url_with_escaped_slashes_is_found() {
    let (masked, count) = inspected(r#"{"a":"postgres:\/\/u:hunter2@db"}"#);
    assert!(count == 1 && !masked.contains("hunter2"), "{masked}");
}

#[test]
fn escapes_hide_neither_names_nor_secrets() {
    let env = r#"{"\u0065nv":[{"name":"A","value":"x"}]}"#;
    assert_eq!(
        inspected(env).0,
        env.replace("\"x\"", &format!("\"{}\"", placeholder("x")))
    );
    let text = format!(
        r#"["a \u0065{} <\u003e>","\ud800 {JWT}","\ud800\u0020"]"#,
        &JWT[1..]
    );
    let (masked, count) = inspected(&text);
    assert!(
        !masked.contains(&JWT[10..]) && masked.ends_with(r#","\ud800\u0020"]"#),
        "{masked}"
    );
    assert_eq!(count, 2);
}

#[test]
fn what_a_patch_sets_in_an_environment_is_replaced() {
    let value = "hunter2";
    let replaced = placeholder(value);
    for (operation, hidden) in [
        (
            json!({"op": "add", "path": "/spec/containers/0/env/0/value", "value": value}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A", "value": value}}),
            true,
        ),
        (
            json!({"op": "replace", "path": "/spec/containers/0/env/-1/value", "value": value}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env/+0/value", "value": value}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env/-1", "value": {"name": "A", "value": value}}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env/+0", "value": {"name": "A", "value": value}}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "A", "value": value}]}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec", "value": {"containers": [{"env": [{"value": value}]}]}}),
            true,
        ),
        (
            json!({"op": "add", "path": "/spec/containers/0/env/0/name", "value": value}),
            false,
        ),
        (
            json!({"op": "add", "path": "/spec/replicas", "value": value}),
            false,
        ),
        (
            json!({"op": "add", "path": "/data/password", "value": value}),
            false,
        ),
    ] {
        let text = json!([operation]).to_string();
        let expected = if hidden {
            text.replace(value, &replaced)
        } else {
            text.clone()
        };
        assert_eq!(inspected(&text).0, expected);
    }
    let told = json!([{"value": "Tr0ub4dor&3", "op": "add", "path": "/data/password"}]).to_string();
    assert_eq!(
        inspected(&told).0,
        told.replace("Tr0ub4dor&3", &placeholder("Tr0ub4dor&3"))
    );
}

#[test]
fn detectors_look_into_every_string() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";
    let config = json!({
        "data": {"conf": format!("a: b\nkey: |\n  {pem}"), "password": "Tr0ub4dor&3", "user": "Tr0ub4dor&3"},
        JWT: [[JWT]],
        "url": "https://u:p4ss@host/x",
    });
    let (masked, count) = inspected(&config.to_string());
    let masked: Value = serde_json::from_str(&masked).unwrap();
    assert_eq!(
        masked,
        json!({
            "data": {
                "conf": format!("a: b\nkey: |\n  {}\n", placeholder(pem.trim_end())),
                "password": placeholder("Tr0ub4dor&3"),
                "user": "Tr0ub4dor&3",
            },
            placeholder(JWT): [[placeholder(JWT)]],
            "url": format!("https://u:{}@host/x", placeholder("p4ss")),
        })
    );
    assert_eq!(count, 5);
}

#[test]
fn several_documents_and_none_are_looked_through() {
    let text = format!("{{\"a\":\"{JWT}\"}}\n[\"{JWT}\"]\n\"{JWT}\"");
    assert_eq!(inspected(&text), (text.replace(JWT, &placeholder(JWT)), 3));
    for nothing in ["", " ", "7", "[]", "[7,{}]", "[[]]", "{}"] {
        assert_eq!(inspected(nothing), (nothing.to_owned(), 0));
    }
}

/// By way of a tree.
fn slowly(value: &Value) -> Value {
    match value {
        Value::String(text) => hide(&key(), text).into(),
        Value::Array(elements) => elements.iter().map(slowly).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let masked = match value {
                    Value::String(text)
                        if is_telling(name.as_bytes())
                            && looks_chosen_by_no_one(text.as_bytes()) =>
                    {
                        placeholder(text).into()
                    }
                    Value::Array(list) if name == "env" => list.iter().map(variable).collect(),
                    _ => slowly(value),
                };
                (hide(&key(), name), masked)
            })
            .collect(),
        other => other.clone(),
    }
}

fn variable(variable: &Value) -> Value {
    let mut masked = slowly(variable);
    if let Some(Value::String(value)) = variable.get("value")
        && !value.is_empty()
    {
        masked["value"] = placeholder(value).into();
    }
    masked
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z\"\\\\\u{1}é ]{0,8}",
        Just(format!("x {JWT} y")),
        Just("https://u:p4ss@h".to_owned()),
        Just("Tr0ub4dor&3".to_owned()),
        Just("password=Tr0ub4dor&3;".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null)
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let name = prop_oneof![text(), Just("password".to_owned()), Just("a".to_owned())];
        let object = prop::collection::hash_map(name, inner.clone(), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        let variable = prop_oneof![
            object.clone(),
            text().prop_map(|value| json!({"name": "A", "value": value}))
        ];
        let with_env =
            prop::collection::vec(variable, 0..3).prop_map(|env| json!({"env": env, "name": "c"}));
        prop_oneof![
            object,
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            with_env
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_masked_as_its_tree_is(document in document(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
        let (masked, count) = inspected(&text);
        let read: Value = serde_json::from_str(&masked).unwrap();
        prop_assert_eq!(read, slowly(&document));
        prop_assert_eq!(count == 0, masked == text);
    }
}

const TABLE: &str = r#"{"kind":"Table","columnDefinitions":[
    {"name":"Name","type":"string","description":"Name must be unique"},
    {"name":"Greeting","description":"Custom resource definition column (in JSONPath format): .spec.env[?(@.name==\"A\")].value"},
    {"name":"Variable","description":"Custom resource definition column (in JSONPath format): .spec.env[0].name"},
    {"name":"Applied","description":"Custom resource definition column (in JSONPath format): .metadata.annotations.kubectl\\.kubernetes\\.io/last-applied-configuration"},
    {"name":"Key","description":"Custom resource definition column (in JSONPath format): .spec.apiToken"},
    {"name":"Spec","description":"in words"},
    {"name":"Age","type":"date","description":"x"}],
  "rows":[{"cells":["n","hunter2","A","{}","CELL","{\"env\":[{\"name\":\"A\",\"value\":\"hunter2\"}]}","5d"],"object":{"metadata":{"name":"n"}}},
    {"cells":["m",7,"B",null,"changeme","text {","1h"],"object":null}]}"#;

#[test]
fn cells_show_nothing_that_their_objects_hide() {
    let token = "Xk29fLm2Qp4Zr8";
    let (masked, count) = inspected(&TABLE.replace("CELL", token));
    let table: Value = serde_json::from_str(&masked).expect("JSON");
    let spec = json!({"env": [{"name": "A", "value": placeholder("hunter2")}]});
    assert_eq!(
        table["rows"][0]["cells"],
        json!([
            "n",
            placeholder("hunter2"),
            "A",
            placeholder("{}"),
            placeholder(token),
            spec.to_string(),
            "5d"
        ])
    );
    assert_eq!(
        table["rows"][1]["cells"],
        json!(["m", placeholder("7"), "B", null, "changeme", "text {", "1h"])
    );
    assert_eq!(count, 5);
}

#[test]
fn a_table_without_columns_stays_as_it_is() {
    let text = r#"{"kind":"Table","columnDefinitions":null,"rows":[{"cells":["n","hunter2"]},7]}"#;
    assert_eq!(inspected(text), (text.to_owned(), 0));
}
