//! Messages written by hand and at random. That they become what Kubernetes makes of them is shown against its own
//! examples and a real API server, in `tests/it/slice/protobuf.rs`.

use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) use self::random::Random;
use super::*;

mod random;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of bytes: a text, or a message.
pub(crate) fn field(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = varint(u64::from(number << 3 | 2));
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

pub(crate) fn number(number: u32, value: i64) -> Vec<u8> {
    [varint(u64::from(number << 3)), varint(value as u64)].concat()
}

fn message(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let kind = message(&[field(1, api_version), field(2, kind)]);
    [
        b"k8s\0".to_vec(),
        field(1, kind),
        field(2, object),
        field(3, ""),
        field(4, ""),
    ]
    .concat()
}

fn read(body: &[u8]) -> Result<Value, Malformed> {
    Ok(serde_json::from_slice(&to_json(body)?).unwrap())
}

/// Of a body that was read in chunks of such sizes.
fn read_in(
    framing: Framing,
    strictness: Strictness,
    chunks: &mut dyn Iterator<Item = &[u8]>,
) -> (Vec<u8>, Result<u64, Malformed>) {
    let mut json = Vec::new();
    let mut transcoder = Transcoder::new(framing, strictness);
    let mut push = |text: &[u8]| {
        json.extend_from_slice(text);
        Ok(())
    };
    let mut fed = Ok(());
    for chunk in chunks {
        fed = fed.and_then(|()| transcoder.feed(chunk, &mut push));
    }
    let verdict = fed.and_then(|()| transcoder.finish(&mut push));
    (json, verdict.map(|()| transcoder.unknown_fields()))
}

fn secret() -> Vec<u8> {
    let metadata = message(&[field(1, "n\"\\\n"), field(5, ""), field(8, number(1, 0))]);
    let entry = |key: &str, value: &[u8]| message(&[field(1, key), field(2, value)]);
    message(
        &[
            field(1, metadata),
            field(2, entry("a", b"x")),
            field(2, entry("b\"", &[0xff; 4])),
            field(3, "Opaque"),
            field(5, []),
        ][..4],
    )
}

#[test]
fn an_object_is_what_its_json_says() {
    assert_eq!(
        read(&body("v1", "Secret", &secret())),
        Ok(json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": "n\"\\\n", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "data": {"a": "eA==", "b\"": "/////w=="},
            "type": "Opaque",
        }))
    );
}

#[test]
fn inlined_messages_and_special_ones_have_no_names_of_their_own() {
    let get = message(&[
        field(1, "/"),
        field(2, message(&[number(1, 1), field(3, "http")])),
    ]);
    let probe = message(&[field(1, field(2, get)), number(2, 0), number(3, -1)]);
    let resources = field(2, message(&[field(1, "cpu"), field(2, field(1, "1500m"))]));
    let container = message(&[field(1, "c"), field(8, resources), field(10, probe)]);
    let pod = field(2, field(2, container));
    assert_eq!(
        read(&body("v1", "Pod", &pod)).unwrap()["spec"]["containers"],
        json!([{
            "name": "c",
            "resources": {"requests": {"cpu": "1500m"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": -1},
        }])
    );
}

#[test]
fn schemas_of_custom_resources_are_one_thing_or_another() {
    let string = field(5, "string");
    let schema = message(&[
        field(8, field(1, "[1]")),
        field(24, [field(2, &string), field(2, "")].concat()),
        field(30, number(1, 0)),
        field(33, field(2, &string)),
    ]);
    let crd = field(2, field(7, field(4, field(1, schema))));
    let read = read(&body(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &crd,
    ))
    .unwrap();
    assert_eq!(
        read["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        json!({
            "default": [1],
            "items": [{"type": "string"}, {}],
            "additionalProperties": false,
            "additionalItems": {"type": "string"},
        })
    );
}

#[test]
fn events_of_a_watch_are_lines() {
    let event = |kind: &str, object: &[u8]| {
        let event = message(&[field(1, kind), field(2, field(1, object))]);
        [(event.len() as u32).to_be_bytes().to_vec(), event].concat()
    };
    let configmap = body("v1", "ConfigMap", &field(1, field(1, "n")));
    let stream = [
        event("ADDED", &configmap),
        event("ERROR", br#"{"kind":"Status"}"#),
    ]
    .concat();
    for size in 1..stream.len() {
        let (lines, verdict) = read_in(Framing::Watch, Strictness::Known, &mut stream.chunks(size));
        assert_eq!(verdict, Ok(0));
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&lines)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            lines,
            [
                json!({"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "n"}}}),
                json!({"type": "ERROR", "object": {"kind": "Status"}}),
            ]
        );
    }
    let cut = &stream[..stream.len() - 1];
    let (_, verdict) = read_in(Framing::Watch, Strictness::Known, &mut [cut].into_iter());
    assert_eq!(verdict, Err(Malformed::Cut));
}

#[test]
fn what_a_newer_server_added_is_left_out_of_records_and_refused_in_requests() {
    let group = [varint(900 << 3 | 3), varint(900 << 3 | 4)].concat();
    for (unknown, known) in [
        (field(900, "secret"), true),
        (number(900, 7), true),
        ([varint(900 << 3 | 1), vec![0; 8]].concat(), true),
        ([varint(900 << 3 | 5), vec![0; 4]].concat(), true),
        (group, false),
    ] {
        let object = [field(1, field(1, "n")), unknown].concat();
        let body = body("v1", "ConfigMap", &object);
        assert_eq!(to_json(&body), Err(Malformed::UnknownField(900)));
        let (json, verdict) = read_in(Framing::Object, Strictness::Known, &mut body.chunks(1));
        assert_eq!(verdict.is_ok(), known, "{verdict:?}");
        assert!(!String::from_utf8(json).unwrap().contains("secret"));
    }
}

#[test]
fn what_is_left_out_stands_for_nothing() {
    let unknown = || field(900, "");
    let crd = |schema: Vec<u8>| field(2, field(7, field(4, field(1, schema))));
    let schema = [
        field(24, unknown()),
        field(30, unknown()),
        field(33, [number(1, 1), unknown()].concat()),
    ];
    let body = body(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &crd(schema.concat()),
    );
    let (json, verdict) = read_in(Framing::Object, Strictness::Known, &mut body.chunks(3));
    assert_eq!(verdict, Ok(3));
    let read: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        read["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        json!({"items": null, "additionalProperties": false, "additionalItems": true})
    );
    let entry = [field(1, "k"), unknown()].concat();
    let config_map = self::body("v1", "ConfigMap", &field(2, entry));
    let (json, _) = read_in(
        Framing::Object,
        Strictness::Known,
        &mut config_map.chunks(3),
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&json).unwrap()["data"],
        json!({"k": ""})
    );
}

#[test]
fn what_go_reads_differently_is_refused() {
    let name = |name: &str| field(1, field(1, name));
    let data = |key: &str| field(2, [field(1, key), field(2, "v")].concat());
    let cut_tag = [varint((1 << 35) | (1 << 3) | 2), vec![0]].concat();
    for (object, why) in [
        ([name("a"), name("b")].concat(), Malformed::Twice(1)),
        ([data("k"), name("a")].concat(), Malformed::Order(1)),
        ([data("k"), data("k")].concat(), Malformed::Entry),
        (field(2, field(2, "v")), Malformed::Entry),
        (
            field(2, [field(2, "v"), field(1, "k")].concat()),
            Malformed::Entry,
        ),
        (number(1, 0), Malformed::WireType(1)),
        (cut_tag, Malformed::Tag),
        (vec![0x02, 0x00], Malformed::Tag),
        (vec![0xff; 11], Malformed::Tag),
        (vec![0x0a, 0x05, 0x00], Malformed::Overlong),
        (vec![0x0a], Malformed::Overlong),
        (field(1, [0x0a, 0x80]), Malformed::Overlong),
        (
            name("a")
                .into_iter()
                .chain([
                    0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ])
                .collect(),
            Malformed::Twice(1),
        ),
        (
            field(
                1,
                [
                    0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
            ),
            Malformed::Overlong,
        ),
        (field(1, field(1, [0xff])), Malformed::Utf8),
        (field(1, field(1, [0xc3])), Malformed::Utf8),
    ] {
        assert_eq!(
            to_json(&body("v1", "ConfigMap", &object)),
            Err(why),
            "{object:?}"
        );
    }
    let both = field(24, [field(1, ""), field(2, "")].concat());
    let both = field(2, field(7, field(4, field(1, both))));
    let both = body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &both);
    assert_eq!(to_json(&both), Err(Malformed::Twice(2)));
    let replicas = |value| body("apps/v1", "Deployment", &field(2, number(1, value)));
    assert_eq!(to_json(&replicas(1 << 32)), Err(Malformed::Value));
    assert!(to_json(&replicas(-1)).is_ok());
}

#[test]
fn a_body_is_one_plain_object_of_a_known_kind() {
    let kind = field(1, [field(1, "v1"), field(2, "Pod")].concat());
    let raw = || field(2, "");
    for (parts, verdict) in [
        (vec![kind.clone(), raw()], None),
        (vec![kind.clone(), raw(), field(3, ""), field(4, "")], None),
        (vec![kind.clone()], Some(Malformed::NoObject)),
        (vec![raw(), kind.clone()], Some(Malformed::UnknownKind)),
        (vec![kind.clone(), raw(), raw()], Some(Malformed::Twice(2))),
        (
            vec![kind.clone(), raw(), field(3, "gzip")],
            Some(Malformed::Encoded),
        ),
        (
            vec![kind.clone(), raw(), field(4, "application/json")],
            Some(Malformed::Encoded),
        ),
        (vec![kind, raw(), vec![0x80]], Some(Malformed::Cut)),
    ] {
        let body = [b"k8s\0".to_vec(), parts.concat()].concat();
        assert_eq!(to_json(&body).err(), verdict, "{parts:?}");
    }
    assert_eq!(to_json(&raw()), Err(Malformed::Magic));
    assert_eq!(to_json(b"k8s"), Err(Malformed::Cut));
    assert_eq!(to_json(b""), Err(Malformed::Cut));
    let stranger = body("example.com/v1", "Widget", b"");
    assert_eq!(to_json(&stranger), Err(Malformed::UnknownKind));
    let options = body("example.com/v1", "DeleteOptions", &number(1, 0));
    assert_eq!(read(&options).unwrap()["gracePeriodSeconds"], 0);
}

#[test]
fn schemas_inside_schemas_end_somewhere() {
    let mut schema = field(5, "string");
    for _ in 0..300 {
        schema = field(28, schema);
    }
    let crd = field(2, field(7, field(4, field(1, schema))));
    let body = body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd);
    assert_eq!(to_json(&body), Err(Malformed::Depth));
}

#[test]
fn one_endless_value_takes_no_memory() {
    let kind = field(1, [field(1, "v1"), field(2, "ConfigMap")].concat());
    let begun = |field: u64, length: u64| [varint(field << 3 | 2), varint(length)].concat();
    let start = [
        b"k8s\0".to_vec(),
        kind,
        begun(2, 1 << 40),
        begun(1, 1 << 39),
        begun(1, 1 << 38),
    ];
    let mut longest = 0;
    let mut sink = |text: &[u8]| {
        longest = longest.max(text.len());
        Ok::<_, Malformed>(())
    };
    let mut transcoder = Transcoder::new(Framing::Object, Strictness::Known);
    transcoder.feed(&start.concat(), &mut sink).unwrap();
    for _ in 0..100 {
        transcoder.feed(&[b'\n'; 100_000], &mut sink).unwrap();
    }
    assert!(longest <= 6 * (4 << 10), "{longest}");
}

proptest! {
    #[test]
    fn any_chunks_of_any_object_become_the_same_json(seed in any::<u64>(), size in 1..40_usize) {
        let body = Random::new(seed).body();
        let whole = to_json(&body);
        let whole = whole.unwrap_or_else(|error| panic!("{error}: {body:?}"));
        let value: Value = serde_json::from_slice(&whole).unwrap();
        prop_assert!(value["kind"].is_string());
        for strictness in [Strictness::Exact, Strictness::Known] {
            let (json, verdict) = read_in(Framing::Object, strictness, &mut body.chunks(size));
            prop_assert_eq!(verdict, Ok(0));
            prop_assert_eq!(&json, &whole);
        }
    }

    #[test]
    fn a_changed_byte_is_read_the_same_in_any_chunks(seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), size in 1..40_usize) {
        let mut body = Random::new(seed).body();
        let at = at.index(body.len());
        body[at] = byte;
        for strictness in [Strictness::Exact, Strictness::Known] {
            let whole = read_in(Framing::Object, strictness, &mut [&*body].into_iter());
            let (json, verdict) = read_in(Framing::Object, strictness, &mut body.chunks(size));
            prop_assert_eq!(&(json, verdict), &whole);
            if let (json, Ok(_)) = whole && std::str::from_utf8(&json).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&json).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>(), size in 1..9_usize) {
        let body = [b"k8s\0".as_slice(), &bytes].concat();
        let (_, object) = read_in(Framing::Object, Strictness::Known, &mut body.chunks(size));
        prop_assert!(object.is_ok() || to_json(&body).is_err());
        let (lines, events) = read_in(Framing::Watch, Strictness::Known, &mut bytes.chunks(size));
        prop_assert!(events.is_err() || lines.is_empty() || lines.ends_with(b"\n"));
    }
}
