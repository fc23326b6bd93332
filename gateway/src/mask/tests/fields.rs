//! What somebody called sensitive, in every form that an object comes in, and nothing beside it.

use serde_json::{Value, json};

use super::*;
use crate::config;

mod any;

const CANARY: &str = CANARIES[0];
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn fields(resource: (&str, &str), names: &[&str], paths: &[&str]) -> SensitiveFields {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    SensitiveFields::new(&config::SensitiveFields {
        api_groups: list(&[resource.0]),
        resources: list(&[resource.1]),
        namespaces: list(&["*"]),
        names: list(names),
        paths: list(paths),
    })
    .expect("they are right")
}

fn hiding(fields: SensitiveFields) -> Arc<Key> {
    let key = Key::from_bytes([7; 32]);
    key.look_for(&[], &[fields]);
    Arc::new(key)
}

/// Of `things` of a group of somebody's own.
fn things(paths: &[&str]) -> Arc<Key> {
    hiding(fields(("acme.io", "things"), &["*"], paths))
}

fn thing(subresource: &str, name: &str) -> Rule {
    Rule::select(&RequestInfo {
        name: name.into(),
        ..request("acme.io", "things", subresource)
    })
}

fn recorded_as(key: &Arc<Key>, rule: Rule, media_type: &str, body: &[u8]) -> RecordedBody {
    let mut masker = BodyMasker::new(key, rule, Some(media_type), None, LIMIT, true);
    body.chunks(7).for_each(|chunk| masker.update(chunk));
    masker.finish()
}

fn recorded(key: &Arc<Key>, rule: Rule, body: &str) -> String {
    inline(&recorded_as(key, rule, "application/json", body.as_bytes())).to_owned()
}

fn shown(key: &Arc<Key>, rule: Rule, body: &str) -> Result<String, Unmaskable> {
    let viewer = Viewer::new(key, "coder", "a session", &[]).with_plain_refusals();
    let mut view = View::new(key, rule, Arc::new(viewer));
    let mut seen = Vec::new();
    for chunk in body.as_bytes().chunks(7) {
        seen.extend(view.update(chunk)?);
    }
    seen.extend(view.finish()?.rest);
    Ok(String::from_utf8(seen).expect("UTF-8"))
}

/// In the record and for an agent: `body` with each `CANARY` replaced, and all else as it came.
#[track_caller]
fn assert_hides(key: &Arc<Key>, rule: &Rule, body: &str) {
    let count = body.matches(CANARY).count();
    let as_recorded = recorded(key, rule.clone(), body);
    assert_eq!(
        as_recorded,
        body.replace(CANARY, &key.placeholder(CANARY.as_bytes()))
    );
    assert_seen(key, rule, body, count);
}

#[track_caller]
fn assert_seen(key: &Arc<Key>, rule: &Rule, body: &str, count: usize) {
    let seen = shown(key, rule.clone(), body).expect("it can be shown");
    assert_no_canary(&seen);
    let mut rest = seen.as_str();
    let mut restored = String::new();
    while let Some(at) = rest.find("sallyport-masked-") {
        restored += &rest[..at];
        restored += CANARY;
        rest = &rest[at + "sallyport-masked-".len() + 12 + 1 + 24..];
    }
    restored += rest;
    assert_eq!(restored, body);
    assert_eq!(seen.matches("sallyport-masked-").count(), count);
}

#[track_caller]
fn assert_shows(key: &Arc<Key>, rule: &Rule, body: &str) {
    assert_eq!(recorded(key, rule.clone(), body), body);
    assert_eq!(shown(key, rule.clone(), body).as_deref(), Ok(body));
}

fn object(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"acme.io/v1","kind":"Thing","metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"token":"{CANARY}","data":[{{"name":"a","value": "{CANARY}"}}],"on":true}}}}"#
    )
}

const PATHS: [&str; 2] = [".spec.token", "{.spec.data[*].value}"];

#[test]
fn an_object_hides_them_wherever_it_stands() {
    let key = things(&PATHS);
    let (one, two) = (object("one"), object("two"));
    for body in [
        one.clone(),
        format!(
            r#"{{"kind":"ThingList","apiVersion":"acme.io/v1","metadata":{{}},"items":[{one}, {two}]}}"#
        ),
        format!(
            r#"{{"apiVersion":"acme.io/v1","items":[{one}],"kind":"ThingList","metadata":{{"resourceVersion":"1"}}}}"#
        ),
        format!(
            "{{\"type\":\"ADDED\",\"object\":{one}}}\n{{\"type\":\"DELETED\",\"object\":{two}}}\n"
        ),
        format!(
            r#"{{"kind":"Table","columnDefinitions":[],"rows":[{{"cells":[],"object":{one}}}]}}"#
        ),
    ] {
        assert_hides(&key, &thing("", ""), &body);
    }
    for subresource in ["status", "scale"] {
        assert_hides(&key, &thing(subresource, "one"), &one);
    }
    assert_shows(&key, &Rule::select(&request("acme.io", "others", "")), &one);
    assert_shows(
        &key,
        &Rule::select(&request("acme.com", "things", "")),
        &one,
    );
}

#[test]
fn only_the_objects_that_are_meant_hide_them() {
    let key = hiding(fields(("acme.io", "things"), &["one"], &PATHS));
    let (one, two) = (object("one"), object("two"));
    assert_shows(&key, &thing("", "two"), &two);
    let list = |first: &str, second: &str| {
        format!(r#"{{"kind":"ThingList","metadata":{{}},"items":[{first},{second}]}}"#)
    };
    let plain = two.replace(CANARY, "plain");
    assert_hides(&key, &thing("", ""), &list(&one, &plain));
    let nameless = one.replace(r#""name":"one","#, "");
    assert_hides(&key, &thing("", ""), &list(&plain, &nameless));
    assert_hides(&key, &thing("", "one"), &nameless);
    let both = one.replace(r#""name":"one""#, r#""name":"two","N\u0061me":"one""#);
    assert_hides(&key, &thing("", ""), &both);
    let patch = format!(r#"{{"spec":{{"token":"{CANARY}"}}}}"#);
    assert_hides(&key, &thing("", "one"), &patch);
    assert_shows(&key, &thing("", "two"), &patch);
}

#[test]
fn no_spelling_of_a_name_gives_one_away() {
    let key = things(&PATHS);
    for body in [
        format!(r#"{{"SPEC":{{"Token":"{CANARY}"}}}}"#),
        format!(r#"{{"sp\u0065c":{{"t\u006fken":"{CANARY}"}}}}"#),
        format!(r#"{{"ſpec":{{"toKen":"{CANARY}"}}}}"#),
        format!(
            r#"{{"spec":{{"token":"{CANARY}","token":{{"a":["{CANARY}"]}}}},"spec":{{"token":"{CANARY}"}}}}"#
        ),
        format!(r#"{{"spec":{{"token":[[{{"below":"{CANARY}"}}]]}}}}"#),
        format!(r#"{{"spec":[{{"token":"{CANARY}"}}]}}"#),
        format!(r#"{{"spec":{{"\ud800":"{CANARY}"}}}}"#),
    ] {
        assert_hides(&key, &thing("", "one"), &body);
    }
}

#[test]
fn what_is_there_stays_and_what_is_not_is_seen() {
    let key = things(&[".spec"]);
    let body = r#"{"spec":{"a":null,"b":"","c":[],"d":{},"e":7,"f":true,"g":-1.5e3}}"#;
    let masked: Value = serde_json::from_str(&recorded(&key, thing("", "one"), body)).unwrap();
    let placeholder = |text: &str| key.placeholder(text.as_bytes());
    let expected = json!({"spec": {"a": null, "b": "", "c": [], "d": {}, "e": placeholder("7"), "f": placeholder("true"),
        "g": placeholder("-1.5e3")}});
    assert_eq!(masked, expected);
    // What looks like a placeholder and is more than one is none.
    let like = format!(r#"{{"spec":"masked:{CANARY}"}}"#);
    assert_no_canary(&recorded(&key, thing("", "one"), &like));
}

#[test]
fn directives_of_a_strategic_merge_patch_name_them_too() {
    let key = things(&[".spec.tags", ".spec.data[*].value"]);
    for body in [
        format!(
            r#"{{"spec":{{"$setElementOrder/tags":["{CANARY}"],"$deleteFromPrimitiveList/tags":["{CANARY}"]}}}}"#
        ),
        format!(r#"{{"spec":{{"$setElementOrder/data":[{{"value":"{CANARY}"}}]}}}}"#),
        format!(
            r#"{{"spec":{{"tags":null,"$retainKeys":["tags","data"],"$patch":"merge","$setElementOrder/Tags":["{CANARY}"]}}}}"#
        ),
    ] {
        let masked = recorded_as(
            &key,
            thing("", "one"),
            "application/strategic-merge-patch+json",
            body.as_bytes(),
        );
        let placeholder = key.placeholder(CANARY.as_bytes());
        assert_eq!(inline(&masked), body.replace(CANARY, &placeholder));
    }
}

#[test]
fn operations_of_a_json_patch_hide_what_they_put_there() {
    let key = things(&[".spec.token", ".spec.data[*].value", ".spec['a/b~c']"]);
    let hidden = |operation: &str| {
        let body = format!("[{operation}]");
        let media_type = "application/json-patch+json";
        let masked = recorded_as(&key, thing("", "one"), media_type, body.as_bytes());
        let masked = inline(&masked).to_owned();
        let whole = body.replace(CANARY, &key.placeholder(CANARY.as_bytes()));
        assert!(masked == whole || masked == body, "{masked}");
        masked == whole
    };
    for path in [
        "/spec/token",
        "/spec/token/below/it",
        "/SPEC/Token",
        "ignored/spec/token",
        "/spec/data/0/value",
        "/spec/data/-/value",
        "/spec/data/-1/value",
        "/spec/data/+0/value",
        "/spec/a~1b~0c",
        "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
    ] {
        for op in ["add", "replace", "test"] {
            let operation = json!({"op": op, "path": path, "value": CANARY});
            assert!(hidden(&operation.to_string()), "{path}");
        }
    }
    for (path, value) in [
        (
            "",
            json!({"metadata": {"name": "one"}, "spec": {"token": CANARY}}),
        ),
        ("/spec", json!({"token": CANARY, "on": true})),
        ("/spec/data", json!([{"name": "a", "value": CANARY}])),
        ("/spec/data/-", json!({"value": CANARY})),
        ("/spec/token", json!({"a": [CANARY]})),
        ("/metadata/annotations", json!({APPLIED: CANARY})),
        ("/metadata", json!({"annotations": {APPLIED: CANARY}})),
    ] {
        let operation = json!({"op": "add", "path": path, "value": value});
        assert!(hidden(&operation.to_string()), "{path}");
        let behind = format!(r#"{{"value":{value},"path":{},"op":"add"}}"#, json(path));
        assert!(hidden(&behind), "{path}");
    }
    for (path, value) in [
        ("/spec/other", json!(CANARY)),
        ("/spec/data/0/name", json!(CANARY)),
        ("/spec/data/0", json!({"name": CANARY})),
    ] {
        let operation = json!({"op": "add", "path": path, "value": value});
        assert!(!hidden(&operation.to_string()), "{path}");
    }
    assert!(hidden(&format!(r#"{{"op":"add","value":"{CANARY}"}}"#)));
    assert!(hidden(&format!(
        r#"{{"op":"add","PATH":"/spec/token","Value":"{CANARY}"}}"#
    )));
}

#[test]
fn what_kubectl_wrote_about_an_object_hides_them() {
    let key = things(&PATHS);
    let applied = json(&object("one"));
    let body = format!(
        r#"{{"metadata":{{"name":"one","annotations":{{"{APPLIED}":{applied}}}}},"spec":{{"token":"{CANARY}"}}}}"#
    );
    for body in [
        body.clone(),
        format!(r#"{{"kind":"ThingList","metadata":{{}},"items":[{body}]}}"#),
    ] {
        let masked = recorded(&key, thing("", ""), &body);
        assert_eq!(
            masked,
            body.replace(CANARY, &key.placeholder(CANARY.as_bytes()))
        );
        assert_seen(&key, &thing("", ""), &body, 3);
    }
}

/// As kube-apiserver prints a definition's columns.
fn table(resource_version: &str, rows: &str) -> String {
    format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{"resourceVersion":"{resource_version}"}},"columnDefinitions":[
{{"name":"Name","type":"string","format":"name","description":"Name must be unique","priority":0}},
{{"name":"Token","type":"string","format":"","description":"what it is for","priority":0}},
{{"name":"Count","type":"integer","format":"name","description":"","priority":0}},
{{"name":"Age","type":"date","format":"","description":"","priority":0}}],"rows":[{rows}]}}"#
    )
}

fn row(name: &str, token: &str) -> String {
    format!(
        r#"{{"cells":["{name}","{token}","{token}","5d"],"object":{{"kind":"PartialObjectMetadata","metadata":{{"name":"{name}"}}}}}}"#
    )
}

#[test]
fn cells_of_a_custom_resource_print_none_of_them() {
    let key = hiding(fields(("acme.io", "things"), &["one"], &PATHS));
    let rows = [row("one", CANARY), row("two", "plain")].join(",");
    assert_hides(&key, &thing("", ""), &table("1", &rows));
    let event = |table: &str| format!(r#"{{"type":"ADDED","object":{table}}}"#);
    let later = format!(
        r#"{{"kind":"Table","columnDefinitions":null,"rows":[{}]}}"#,
        row("one", CANARY)
    );
    let watch = event(&table("1", &row("one", CANARY))) + "\n" + &event(&later);
    assert_hides(&key, &thing("", ""), &watch);
    let nameless = format!(r#"{{"cells":["n","{CANARY}"],"object":null}}"#);
    assert_hides(&key, &thing("", ""), &table("1", &nameless));
    let unknown = format!(r#"{{"kind":"Table","rows":[{{"cells":["{CANARY}"],"object":null}}]}}"#);
    assert_hides(&key, &thing("", ""), &unknown);
}

#[test]
fn cells_that_kubernetes_prints_stay() {
    let key = hiding(fields(("", "configmaps"), &["*"], &[".data.*"]));
    let rule = Rule::select(&request("", "configmaps", ""));
    assert_shows(&key, &rule, &table("1", &row("one", "3")));
}

/// As kube-apiserver prints Services.
fn services(name: &str, cells: &str) -> String {
    format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{}},"columnDefinitions":[
{{"name":"Name","type":"string","format":"name","description":"Name must be unique","priority":0}},
{{"name":"External-IP","type":"string","format":"","description":"externalIPs","priority":0}},
{{"name":"Age","type":"string","format":"","description":"CreationTimestamp","priority":0}},
{{"name":"Selector","type":"string","format":"","description":"","priority":1}}],"rows":[{{"cells":["{name}",{cells}],"object":{{"kind":"PartialObjectMetadata","metadata":{{"name":"{name}"}}}}}}]}}"#
    )
}

#[test]
fn cells_that_kubernetes_prints_of_fields_show_none_of_them() {
    let paths = [".spec.externalName", ".spec.selector"];
    let cells = format!(r#""{CANARY}","5d","{CANARY}""#);
    for names in ["*", "one"] {
        let key = hiding(fields(("", "services"), &[names], &paths));
        let rule = Rule::select(&request("", "services", ""));
        assert_hides(&key, &rule, &services("one", &cells));
        let event = format!(
            r#"{{"type":"MODIFIED","object":{}}}"#,
            services("one", &cells)
        );
        assert_hides(&key, &rule, &event);
    }
    let key = hiding(fields(("", "services"), &["one"], &paths));
    let rule = Rule::select(&request("", "services", ""));
    assert_shows(&key, &rule, &services("two", r#""plain","5d","app=x""#));
    // Only where Kubernetes prints it is a column that is called so one of ages.
    let cells = format!(r#""{CANARY}","{CANARY}","{CANARY}""#);
    assert_hides(&things(&PATHS), &thing("", ""), &services("one", &cells));
}

#[test]
fn cells_of_a_known_column_stay_unless_its_field_is_hidden() {
    for (group, resource, path, is_shown) in [
        ("", "secrets", ".data.*", true),
        ("", "secrets", ".type", false),
        ("sallyport.dev", "approvalrequests", ".spec.body", true),
        ("sallyport.dev", "approvalrequests", ".spec.call", false),
    ] {
        let key = hiding(fields((group, resource), &["*"], &[path]));
        let rule = Rule::select(&request(group, resource, ""));
        let body = services("one", r#""one of them","5d","3""#);
        let is_same = recorded(&key, rule, &body) == body;
        assert_eq!(is_same, is_shown, "{resource} {path}");
    }
}

#[test]
fn of_very_many_values_whole_parts_are_hidden() {
    let most = 10_000;
    let many = 2 * most;
    let list = |element: &str| vec![element; many].join(",");
    let members = (0..many).map(|index| format!(r#""{index}":1"#));
    let members = members.collect::<Vec<_>>().join(",");
    for (path, value) in [
        (".spec.list", format!("[{}]", list("1"))),
        (".spec.list", format!("[{}]", list("[1]"))),
        (".spec.list", format!(r#"[{}]"#, list(r#"{"a":"b"}"#))),
        (".spec.list[*].a", format!(r#"[{}]"#, list(r#"{"a":1}"#))),
        (".spec.list.a", format!(r#"[{}]"#, list(r#"{"a":1}"#))),
        (".spec.list", format!("{{{members}}}")),
        (".spec.list.*", format!("{{{members}}}")),
    ] {
        let key = things(&[path]);
        let body = format!(
            r#"{{"metadata":{{"name":"one"}},"spec":{{"list":{value},"other":"{CANARY}"}},"status":{{"on":true}}}}"#
        );
        for (seen, marker) in [
            (recorded(&key, thing("", "one"), &body), key.marker()),
            (
                shown(&key, thing("", "one"), &body).expect("it can be shown"),
                "sallyport-masked-".to_owned(),
            ),
        ] {
            assert!(seen.matches(&marker).count() <= most + 1, "{path}");
            assert!(seen.len() < body.len() + 100 * most, "{path}");
            let read: Value = serde_json::from_str(&seen).expect("JSON");
            assert_eq!(read["spec"]["other"], CANARY);
            assert_eq!(read["status"], json!({"on": true}));
        }
    }
    let rows = format!(r#"{{"kind":"Table","rows":[{{"cells":[{}]}}]}}"#, list("1"));
    let seen = recorded(&things(&PATHS), thing("", ""), &rows);
    assert!(seen.matches(&key().marker()).count() <= most + 1);
    assert!(serde_json::from_str::<Value>(&seen).is_ok());
}

#[test]
fn a_config_map_of_bytes_stays_one_for_its_readers() {
    let key = hiding(fields(
        ("", "configmaps"),
        &["named-in-url"],
        &[".data.*", ".binaryData.*"],
    ));
    let rule = Rule::select(&request("", "configmaps", ""));
    let body = format!(
        r#"{{"data":{{"a":"{CANARY}"}},"binaryData":{{"b":"{}"}}}}"#,
        base64(CANARY)
    );
    assert_no_canary(&recorded(&key, rule.clone(), &body));
    let seen = shown(&key, rule.clone(), &body).expect("it can be shown");
    assert_no_canary(&seen);
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    let bytes = STANDARD
        .decode(seen["binaryData"]["b"].as_str().unwrap())
        .expect("base64");
    assert!(Placeholder::is_one(&bytes));
    assert!(Placeholder::is_one(
        seen["data"]["a"].as_str().unwrap().as_bytes()
    ));
    let yaml = format!(
        "data: {{a: {CANARY}}}\nbinaryData:\n  b: {}\n",
        base64(CANARY)
    );
    let masked = recorded_as(&key, rule, "application/yaml", yaml.as_bytes());
    assert_no_canary(inline(&masked));
    assert_eq!(masked.findings.masked, 2);
}

#[test]
fn equal_values_look_equal_in_a_record_and_to_an_agent_only_in_one_place() {
    let key = things(&PATHS);
    let read = |body: &str| -> Value { serde_json::from_str(body).expect("JSON") };
    let body = object("one");
    let record = read(&recorded(&key, thing("", "one"), &body));
    assert_eq!(record["spec"]["token"], record["spec"]["data"][0]["value"]);
    let alone = read(&shown(&key, thing("", "one"), &body).unwrap());
    assert_ne!(alone["spec"]["token"], alone["spec"]["data"][0]["value"]);
    let watch = format!(r#"{{"type":"ADDED","object":{body}}}"#);
    let list = format!(
        r#"{{"kind":"ThingList","metadata":{{}},"items":[{},{body}]}}"#,
        object("two")
    );
    let (watch, list) = (
        read(&shown(&key, thing("", ""), &watch).unwrap()),
        read(&shown(&key, thing("", ""), &list).unwrap()),
    );
    assert_eq!(watch["object"], alone);
    assert_eq!(list["items"][1], alone);
    assert_ne!(list["items"][0]["spec"]["token"], alone["spec"]["token"]);
}

#[test]
fn managed_fields_show_no_element_that_is_hidden() {
    let key = things(&[".spec.tags[*]", ".spec.data[*].value"]);
    let managed = |fields: &str| {
        format!(
            r#"{{"metadata":{{"name":"one","managedFields":[{{"manager":"m","fieldsV1":{fields}}}]}},"spec":{{}}}}"#
        )
    };
    for (fields, is_shown) in [
        (r#"{"f:spec":{"f:tags":{"v:\"CANARY\"":{}}}}"#, false),
        (
            r#"{"f:spec":{"f:data":{"k:{\"value\":\"CANARY\"}":{}}}}"#,
            false,
        ),
        (
            r#"{"f:spec":{"f:data":{"k:{\"name\":\"a\"}":{".":{},"f:value":{}}},"f:other":{"v:\"x\"":{}}}}"#,
            true,
        ),
    ] {
        let body = managed(&fields.replace("CANARY", CANARY));
        let expected = if is_shown {
            body.clone()
        } else {
            managed("{}")
        };
        assert_eq!(shown(&key, thing("", "one"), &body), Ok(expected));
    }
}

#[test]
fn what_is_taken_for_a_list_and_has_fields_of_an_object_is_not_shown() {
    let key = things(&[".spec.token", ".metadata.annotations.note"]);
    for body in [
        format!(r#"{{"spec":{{"token":"{CANARY}"}},"items":[]}}"#),
        format!(r#"{{"kind":"Thing","items":[],"spec":{{"token":"{CANARY}"}}}}"#),
        format!(r#"{{"metadata":{{"annotations":{{"note":"{CANARY}"}}}},"items":[]}}"#),
        format!(r#"{{"items":[],"metadata":{{"annotations":{{"note":"{CANARY}"}}}}}}"#),
    ] {
        assert_eq!(
            shown(&key, thing("", ""), &body),
            Err(Unmaskable::Ambiguous),
            "{body}"
        );
        assert_no_canary(&recorded(&key, thing("", ""), &body));
    }
}

#[test]
fn a_refusal_quotes_none_of_them_in_the_record() {
    let key = things(&PATHS);
    let words =
        format!(r#"Thing "one" is invalid: spec.token: Invalid value: "{CANARY}": too long"#);
    let status = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "message": words,
        "details": {"causes": [{"message": words, "field": "spec.token"}]}});
    let status = status.to_string();
    // As Go writes it: the kind and the reason before what quotes.
    let ordered = format!(
        r#"{{"kind":"Status","metadata":{{}},"status":"Failure","message":{0},"reason":"Invalid","details":{{"causes":[{{"message":{0}}}]}},"code":422}}"#,
        json(&words)
    );
    assert_no_canary(&recorded(&key, thing("", "one"), &ordered));
    assert!(
        recorded(
            &things(&[".spec"]),
            Rule::select(&request("acme.io", "others", "")),
            &status
        )
        .contains("Invalid value")
    );
    let request = request("acme.io", "things", "");
    assert!(!unquoted(&key, &request, &words).contains(CANARY));
    assert!(is_sensitive(&key, &request, "/spec/data/0"));
    assert!(!is_sensitive(&key, &request, "/spec/data/0/name"));
}
