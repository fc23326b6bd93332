//! What an agent sees: the record's view with placeholders of its own, in any chunks, and never an original.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

use super::{
    reference::{Doc, documents},
    streaming::{Printer, SIZES, any_document, rule},
    *,
};

fn viewer(principal: &str) -> Viewer {
    Viewer::new(&key(), principal, "a session", &["", "secrets", ""]).with_plain_refusals()
}

fn show_to<'a>(
    viewer: Viewer,
    rule: Rule,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Shown), Unmaskable> {
    let mut view = View::new(&key(), rule, Arc::new(viewer));
    let mut seen = Vec::new();
    for chunk in chunks {
        seen.extend(view.update(chunk)?);
    }
    let mut shown = view.finish()?;
    seen.append(&mut shown.rest);
    Ok((
        String::from_utf8(seen).expect("UTF-8 comes out of UTF-8"),
        shown,
    ))
}

fn show<'a>(
    rule: Rule,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Shown), Unmaskable> {
    show_to(viewer("sallyport:sa:shop:coder"), rule, chunks)
}

#[track_caller]
fn shown(rule: Rule, text: &str) -> Value {
    let (seen, _) = show(rule, [text.as_bytes()]).expect("it can be shown");
    serde_json::from_str(&seen).expect("it is JSON")
}

fn secret_with(namespace: &str, name: &str, key: &str, value: &str) -> String {
    format!(
        r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":{},"namespace":{}}},"data":{{{}:{}}},"type":"Opaque"}}"#,
        json(name),
        json(namespace),
        json(key),
        json(&base64(value)),
    )
}

fn decoded(value: &Value) -> String {
    let text = value.as_str().expect("a text");
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("a text in it")
}

#[test]
fn a_value_becomes_a_placeholder_that_its_field_can_hold() {
    let seen = shown(
        secrets(),
        &secret_with("shop", "db", "password", CANARIES[0]),
    );
    let placeholder = decoded(&seen["data"]["password"]);
    let tag = Placeholder::tag_of("a session");
    assert!(
        placeholder.starts_with(&format!("sallyport-masked-{tag}-")),
        "{placeholder}"
    );
    // A label's longest value: what holds the least of all that a placeholder may be put in.
    assert!(placeholder.len() <= 63, "{placeholder}");
    assert_eq!(
        Placeholder::find(placeholder.as_bytes()).map(|found| found.to_string()),
        Some(placeholder)
    );
    assert_eq!(seen["type"], "Opaque");
    assert_eq!(seen["metadata"]["name"], "db");
}

#[test]
fn placeholders_tell_no_length() {
    let length = |value: &str| {
        let seen = shown(secrets(), &secret_with("shop", "db", "password", value));
        decoded(&seen["data"]["password"]).len()
    };
    assert_eq!(length(""), length(&"x".repeat(5000)));
}

#[test]
fn equal_values_look_equal_only_to_one_agent_in_one_field_of_one_object() {
    let see = |principal: &str, namespace: &str, name: &str, key: &str, value: &str| {
        let text = secret_with(namespace, name, key, value);
        let (seen, _) = show_to(viewer(principal), secrets(), [text.as_bytes()]).unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        decoded(&seen["data"][key])
    };
    let original = see("coder", "shop", "db", "password", "1234");
    assert_eq!(original, see("coder", "shop", "db", "password", "1234"));
    let different = [
        see("coder", "shop", "guess", "password", "1234"),
        see("coder", "lab", "db", "password", "1234"),
        see("coder", "shop", "db", "guess", "1234"),
        see("other", "shop", "db", "password", "1234"),
        see("coder", "shop", "db", "password", "1235"),
    ];
    for placeholder in different {
        assert_ne!(placeholder, original);
    }
}

#[test]
fn one_object_looks_the_same_alone_in_a_list_and_in_a_watch() {
    let object = secret_with("shop", "db", "password", CANARIES[1]);
    let alone = shown(secrets(), &object);
    let list = shown(
        secrets(),
        &format!(
            r#"{{"kind":"SecretList","apiVersion":"v1","metadata":{{}},"items":[{object},{object}]}}"#
        ),
    );
    let watch = shown(
        secrets(),
        &format!(r#"{{"type":"ADDED","object":{object}}}"#),
    );
    assert_eq!(list["items"][0], alone);
    assert_eq!(list["items"][1], alone);
    assert_eq!(watch["object"], alone);
}

#[test]
fn an_event_goes_on_with_its_last_byte() {
    for (rule, object) in [
        (
            secrets(),
            secret_with("shop", "db", "password", CANARIES[0]),
        ),
        (
            others(),
            r#"{"kind":"Pod","metadata":{"name":"p"},"spec":{"a":1}}"#.to_owned(),
        ),
    ] {
        let mut view = View::new(&key(), rule, Arc::new(viewer("coder")));
        for _ in 0..3 {
            let event = format!(r#"{{"type":"MODIFIED","object":{object}}}"#) + "\n";
            let seen = view.update(event.as_bytes()).unwrap();
            let seen: Value = serde_json::from_slice(&seen).expect("a whole event");
            assert_eq!(seen["type"], "MODIFIED");
        }
    }
}

#[test]
fn what_says_at_its_end_that_it_is_a_secret_is_held_back_until_then() {
    let text = format!(
        r#"{{"data":{{"k":{}}},"metadata":{{"name":"n"}},"kind":"Secret"}}"#,
        json(&base64(CANARIES[0]))
    );
    let mut view = View::new(&key(), others(), Arc::new(viewer("coder")));
    let (start, end) = text.as_bytes().split_at(text.len() - 3);
    assert_eq!(view.update(start).unwrap(), b"");
    let mut seen = view.update(end).unwrap();
    seen.extend(view.finish().unwrap().rest);
    let seen = String::from_utf8(seen).unwrap();
    assert_no_canary(&seen);
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert!(decoded(&seen["data"]["k"]).starts_with("sallyport-masked-"));
}

#[test]
fn what_changes_its_mind_about_being_a_secret_is_not_shown_on() {
    for text in [
        r#"{"kind":"Pod","metadata":{},"kind":"Secret","data":{"k":"dg=="}}"#,
        r#"{"type":"ADDED","object":{"kind":"Pod"},"data":{"k":"dg=="},"kind":"Secret"}"#,
        r#"{"kind":"PodList","items":[{"data":{"k":"dg=="},"kind":"Secret"}]}"#,
    ] {
        assert_eq!(
            show(others(), [text.as_bytes()]).map(|(seen, _)| seen),
            Err(Unmaskable::Ambiguous),
            "{text}"
        );
    }
}

#[test]
fn equal_values_of_one_object_look_different_and_each_as_before() {
    let text = r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"env":[
        {"name":"A","value":"x"},{"name":"B","value":"x"}]}],"note":"https://a:x1@b https://a:x1@b"}}"#;
    let seen = shown(others(), text);
    let env = &seen["spec"]["containers"][0]["env"];
    assert!(env[0]["value"].to_string().contains("sallyport-masked-"));
    assert_ne!(env[0]["value"], env[1]["value"]);
    let note = seen["spec"]["note"].as_str().expect("a text");
    let (one, other) = note.split_once(' ').expect("both");
    assert_ne!(one, other);
    assert_eq!(shown(others(), text), seen);
}

#[test]
fn an_object_that_has_items_is_no_list_where_it_has_more() {
    for text in [
        r#"{"kind":"Door","metadata":{"name":"a"},"items":[],"spec":{"env":[{"name":"A","value":"x"}]}}"#,
        r#"{"kind":"Door","spec":{"env":[{"name":"A","value":"x"}]},"items":[]}"#,
        r#"{"kind":"Door","items":[],"metadata":{"annotations":{"a":"https://u:p@h"}}}"#,
    ] {
        let refused = show(others(), text.as_bytes().chunks(1)).map(|(seen, _)| seen);
        assert_eq!(refused, Err(Unmaskable::Ambiguous), "{text}");
    }
}

/// As the API server writes lists of custom resources.
#[test]
fn a_list_that_says_its_kind_at_its_end_is_shown_object_by_object() {
    let item = |name: &str| {
        format!(r#"{{"apiVersion":"a/v1","kind":"Door","metadata":{{"name":"{name}"}}}}"#)
    };
    let mut view = View::new(&key(), others(), Arc::new(viewer("coder")));
    let start = format!(r#"{{"apiVersion":"a/v1","items":[{},"#, item("one"));
    let seen = view.update(start.as_bytes()).unwrap();
    assert!(String::from_utf8(seen).unwrap().contains("one"));
    let end = format!(r#"{}],"kind":"DoorList","metadata":{{}}}}"#, item("two"));
    let seen = view.update(end.as_bytes()).unwrap();
    assert!(String::from_utf8(seen).unwrap().contains("DoorList"));
    for text in [
        r#"{"items":[{"data":{"k":"dg=="}}],"kind":"SecretList"}"#,
        r#"{"items":[{"kind":"Door","data":{"k":"dg=="}}],"kind":"SecretList"}"#,
    ] {
        let refused = show(others(), text.as_bytes().chunks(1)).map(|(seen, _)| seen);
        assert_eq!(refused, Err(Unmaskable::Ambiguous), "{text}");
    }
}

#[test]
fn labels_are_seen_and_annotations_are_not() {
    let seen = shown(
        secrets(),
        r#"{"kind":"Secret","metadata":{"name":"n","labels":{"app":"shop"},"annotations":{"note":"hidden"}}}"#,
    );
    assert_eq!(seen["metadata"]["labels"]["app"], "shop");
    let note = seen["metadata"]["annotations"]["note"].as_str().unwrap();
    assert!(note.starts_with("sallyport-masked-"), "{note}");
}

#[test]
fn what_kubectl_applied_stays_an_object_for_kubectl() {
    let applied = format!(
        r#"{{"apiVersion":"v1","data":{{"k":{}}},"kind":"Secret","metadata":{{"annotations":{{}},"name":"n"}}}}"#,
        json(&base64(CANARIES[0]))
    );
    for (rule, kind) in [(secrets(), "Secret"), (others(), "List")] {
        let text = format!(
            r#"{{"kind":{},"metadata":{{"name":"n","annotations":{{"kubectl.kubernetes.io/last-applied-configuration":{}}}}}}}"#,
            json(kind),
            json(&applied)
        );
        let seen = shown(rule, &text);
        let inner =
            &seen["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        let inner: Value =
            serde_json::from_str(inner.as_str().unwrap()).expect("an object in a text");
        assert_no_canary(&inner.to_string());
        assert!(decoded(&inner["data"]["k"]).starts_with("sallyport-masked-"));
        assert_eq!(inner["metadata"]["name"], "n");
    }
}

const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"secrets \"db\" not found","reason":"NotFound","details":{"name":"db","kind":"secrets"},"code":404}"#;

#[test]
fn a_text_that_comes_in_pieces_is_hidden_as_one_that_comes_whole() {
    let text = format!(
        r#"{{"kind":"Pod","metadata":{{"annotations":{{"kubectl.kubernetes.io/last-applied-configuration":{}}}}}}}"#,
        json(CANARIES[0])
    );
    let (whole, _) = show(others(), [text.as_bytes()]).unwrap();
    let (pieces, _) = show(others(), text.as_bytes().chunks(1)).unwrap();
    assert_eq!(whole, pieces);
    assert!(whole.contains("sallyport-masked-"), "{whole}");
}

#[test]
fn what_is_a_secret_by_its_looks_or_its_place_is_hidden_outside_of_secrets_too() {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let pod = |name: &str| {
        format!(
            r#"{{"kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","env":[{{"name":"A","value":{}}}],"args":["{token}"]}}]}}}}"#,
            json(CANARIES[0])
        )
    };
    let seen = shown(others(), &pod("one"));
    let container = &seen["spec"]["containers"][0];
    let variable = container["env"][0]["value"].as_str().unwrap();
    assert!(variable.starts_with("sallyport-masked-"), "{variable}");
    assert!(!seen.to_string().contains(token), "{seen}");
    assert_eq!(container["env"][0]["name"], "A");
    let list = format!(
        r#"{{"kind":"List","items":[{},{}]}}"#,
        pod("one"),
        pod("two")
    );
    let (text, _) = show(others(), list.as_bytes().chunks(7)).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["items"][0], seen);
    assert_ne!(
        list["items"][1]["spec"]["containers"][0]["env"],
        list["items"][0]["spec"]["containers"][0]["env"]
    );
}

#[test]
fn cells_of_a_table_show_no_more_than_its_objects() {
    let columns = r#"[{"name":"Name"},{"name":"Greeting","description":"Custom resource definition column (in JSONPath format): .spec.env[0].value"},{"name":"Age"}]"#;
    let row = |name: &str, value: &str| {
        format!(
            r#"{{"cells":["{name}",{},"5d"],"object":{{"kind":"PartialObjectMetadata","metadata":{{"name":"{name}"}}}}}}"#,
            json(value)
        )
    };
    let table = |columns: &str, rows: &[String]| {
        let rows = rows.join(",");
        format!(r#"{{"kind":"Table","columnDefinitions":{columns},"rows":[{rows}]}}"#)
    };
    let event = |table: String| format!(r#"{{"type":"ADDED","object":{table}}}"#);
    let values = [CANARIES[0], "", CANARIES[1]];
    let rows: Vec<_> = values.iter().map(|value| row("n", value)).collect();
    let whole = table(columns, &rows);
    let events = rows.iter().enumerate().map(|(index, row)| {
        let columns = if index == 0 { columns } else { "null" };
        event(table(columns, std::slice::from_ref(row)))
    });
    for text in [whole, events.collect()] {
        for size in SIZES {
            let (seen, shown) =
                show(others(), text.as_bytes().chunks(size)).expect("it can be shown");
            assert_no_canary(&seen);
            assert_eq!((shown.masked, shown.issued.digests.len()), (2, 2), "{seen}");
            assert_eq!(seen.matches("sallyport-masked-").count(), 2, "{seen}");
            assert_eq!(seen.matches(r#""5d"],"object""#).count(), 3, "{seen}");
        }
    }
}

#[test]
fn a_refusal_that_quotes_nothing_is_read_as_it_is() {
    let original: Value = serde_json::from_str(NOT_FOUND).unwrap();
    assert_eq!(shown(secrets(), NOT_FOUND), original);
    let event = format!(r#"{{"type":"ERROR","object":{NOT_FOUND}}}"#);
    assert_eq!(shown(secrets(), &event)["object"], original);
}

#[test]
fn a_refusal_that_may_quote_a_secret_is_still_a_status() {
    let quoting = NOT_FOUND.replace("secrets \\\"db\\\" not found", CANARIES[0]);
    let strict = || Viewer::new(&key(), "coder", "a session", &[]);
    let see = |text: &str| {
        let (seen, _) = show_to(strict(), secrets(), [text.as_bytes()]).unwrap();
        assert_no_canary(&seen);
        serde_json::from_str::<Value>(&seen).unwrap()
    };
    let seen = see(&quoting);
    assert_eq!(seen["details"], Value::Null);
    assert_eq!(seen["code"], 404);
    assert!(seen["message"].as_str().unwrap().starts_with("withheld"));
    let rbac = "secrets \\\"db\\\" is forbidden: User \\\"sallyport:sa:a:b\\\" cannot patch";
    let seen = see(&NOT_FOUND.replace("secrets \\\"db\\\" not found", rbac));
    assert!(seen["message"].as_str().unwrap().contains("cannot patch"));
}

/// Of a pod whose environment was changed.
const INVALID: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Pod \"p\" is invalid: spec: Forbidden: core.PodSpec{Value: \"hunter2\"} is forbidden: User \"sallyport:","reason":"Invalid","details":{"name":"p","causes":[{"reason":"FieldValueForbidden","message":"Forbidden: hunter2","field":"spec"}]},"code":422}"#;

#[test]
fn a_refusal_that_may_quote_an_environment_is_withheld_from_who_may_not_read_it() {
    let members: Vec<_> = INVALID.split_inclusive("Status\",").collect();
    let kind_last = format!(
        "{{{}",
        members[1].replace(":422}", r#":422,"kind":"Status"}"#)
    );
    for text in [INVALID, &kind_last] {
        let viewer = Viewer::new(&key(), "coder", "a session", &[]).with_quoting_refusals();
        let (seen, _) = show_to(viewer, others(), [text.as_bytes()]).unwrap();
        assert!(!seen.contains("hunter2"), "{seen}");
        let seen: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["details"], Value::Null);
        assert_eq!(seen["reason"], "Invalid");
        assert!(seen["message"].as_str().unwrap().starts_with("withheld"));
    }
}

#[test]
fn the_record_of_a_refusal_quotes_no_environment() {
    let recorded = record(others(), [INVALID.as_bytes()]);
    let masked = inline(&recorded);
    assert!(!masked.contains("hunter2"), "{masked}");
    let findings = recorded.findings;
    let message = findings.facts.status.unwrap().message.unwrap();
    assert!(message.get().ends_with("spec: Forbidden: withheld"));
}

#[test]
fn a_view_holds_little_however_long_the_answer_is() {
    let pod = format!(
        r#"{{"metadata":{{"name":"p"}},"spec":{{"x":"{}"}}}}"#,
        "y".repeat(30_000)
    );
    let secret = secret_with("shop", "db", "password", &"z".repeat(30_000));
    for (rule, kind, item) in [
        (others(), "PodList", pod),
        (secrets(), "SecretList", secret),
    ] {
        let mut view = View::new(&key(), rule, Arc::new(viewer("coder")));
        let start = format!(r#"{{"kind":"{kind}","items":[{item}"#);
        view.update(start.as_bytes()).unwrap();
        let item = format!(",{item}");
        for _ in 0..300 {
            view.update(item.as_bytes()).unwrap();
            assert!(view.capacity() < 256 << 10, "{}", view.capacity());
        }
    }
}

#[test]
fn placeholders_that_were_given_out_are_counted_and_named() {
    let text = secret_with("shop", "db", "password", CANARIES[0]);
    let (seen, shown) = show(secrets(), [text.as_bytes()]).unwrap();
    let digests: Vec<_> = Placeholder::find_all(seen.as_bytes())
        .into_iter()
        .map(|placeholder| placeholder.digest)
        .collect();
    assert_eq!(shown.issued.digests, digests);
    assert_eq!(shown.masked, 1);
}

#[test]
fn a_broken_answer_is_shown_no_further() {
    let text = secret_with("shop", "db", "password", CANARIES[0]);
    for end in 1..text.len() {
        let cut = show(secrets(), [&text.as_bytes()[..end]]).map(|(seen, _)| seen);
        assert_eq!(cut, Err(Unmaskable::Incomplete), "{end}");
    }
    let mut view = View::new(&key(), secrets(), Arc::new(viewer("coder")));
    assert_eq!(view.update(b"{]"), Err(Unmaskable::Malformed));
    assert_eq!(view.update(text.as_bytes()), Err(Unmaskable::Malformed));
}

/// With annotations for labels, which an agent sees.
fn without_labels(document: Doc) -> Doc {
    match document {
        Doc::Map(members) => Doc::Map(
            members
                .into_iter()
                .map(|(name, value)| (name.replace("labels", "annotations"), without_labels(value)))
                .collect(),
        ),
        Doc::List(elements) => Doc::List(elements.into_iter().map(without_labels).collect()),
        Doc::Text(text) => Doc::Text(text.replace("labels", "annotations")),
        other => other,
    }
}

/// The record's placeholders are the agent's, and nothing else differs.
fn is_view_of(seen: &Doc, recorded: &Doc) -> bool {
    match (seen, recorded) {
        (_, Doc::Text(text)) if text.contains("masked:") => {
            Placeholder::find(format!("{seen:?}").as_bytes())
                .is_some_and(|found| found.kind == PlaceholderKind::View)
        }
        (Doc::List(seen), Doc::List(recorded)) => {
            seen.len() == recorded.len()
                && seen
                    .iter()
                    .zip(recorded)
                    .all(|(seen, recorded)| is_view_of(seen, recorded))
        }
        (Doc::Map(seen), Doc::Map(recorded)) => {
            seen.len() == recorded.len()
                && seen
                    .iter()
                    .zip(recorded)
                    .all(|((name, seen), (same, recorded))| {
                        name == same && is_view_of(seen, recorded)
                    })
        }
        (seen, recorded) => seen == recorded,
    }
}

proptest! {
    #[test]
    fn any_chunks_of_any_document_are_shown_the_same_and_without_secrets(
        (chosen, document) in any_document(),
        noise in vec(any::<u8>(), 1..40),
        sizes in vec(select(SIZES.as_slice()), 1..6),
    ) {
        let text = Printer::print(&without_labels(document), &noise);
        let whole = show(rule(chosen), [text.as_bytes()]);
        let mut rest = text.as_bytes();
        let chunks: Vec<&[u8]> = sizes.iter().cycle().map_while(|size| {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            rest = tail;
            (!chunk.is_empty()).then_some(chunk)
        }).collect();
        match (whole, show(rule(chosen), chunks)) {
            (Ok((whole, _)), Ok((chunked, _))) => {
                assert_no_canary(&whole);
                prop_assert!(!whole.contains(&key().marker()), "{}", whole);
                prop_assert_eq!(&chunked, &whole);
                let recorded = masked(rule(chosen), &text);
                let (seen, recorded) = (documents(&whole), documents(&recorded));
                prop_assert!(seen.iter().zip(&recorded).all(|(seen, recorded)| is_view_of(seen, recorded)), "{:?} {:?}", seen, recorded);
                prop_assert_eq!(seen.len(), recorded.len());
            }
            (Err(whole), Err(chunked)) => prop_assert_eq!(whole, chunked),
            (whole, chunked) => prop_assert!(false, "{:?} {:?}", whole, chunked),
        }
    }

    #[test]
    fn anything_at_all_is_shown_or_refused_the_same_in_any_chunks(bytes in vec(any::<u8>(), 0..60), size in 1..9_usize) {
        let see = |chunks: &mut dyn Iterator<Item = &[u8]>| show(secrets(), chunks).map(|(seen, _)| seen);
        prop_assert_eq!(see(&mut bytes.chunks(size)), see(&mut std::iter::once(&bytes[..])));
    }
}
