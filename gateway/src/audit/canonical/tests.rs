use std::net::Ipv4Addr;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    audit::{record::sample, store::hex},
    mask::Masked,
};

const VECTORS: [(&str, &str, &[u8], &str); 3] = [
    (
        "intent",
        include_str!("intent.input.json"),
        include_bytes!("intent.canonical.json"),
        include_str!("intent.sha256"),
    ),
    (
        "outcome",
        include_str!("outcome.input.json"),
        include_bytes!("outcome.canonical.json"),
        include_str!("outcome.sha256"),
    ),
    (
        "strings",
        include_str!("strings.input.json"),
        include_bytes!("strings.canonical.json"),
        include_str!("strings.sha256"),
    ),
];

#[test]
fn every_vector_has_its_bytes_and_digest() {
    for (name, input, canonical, sha256) in VECTORS {
        let row: Map<String, Value> = serde_json::from_str(input).unwrap();
        let bytes = row_bytes(&row).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(canonical),
            "{name}"
        );
        assert_eq!(hex(&digest(&bytes)), sha256.trim(), "{name}");
    }
}

#[test]
fn astral_keys_sort_by_their_surrogates() {
    let row = json!({"\u{e000}": 1, "\u{10000}": 2, "\u{ffff}": 3, "z": 4});
    let bytes = row_bytes(row.as_object().unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{\"z\":4,\"\u{10000}\":2,\"\u{e000}\":1,\"\u{ffff}\":3}"
    );
}

#[test]
fn numbers_that_readers_round_are_refused() {
    for number in [
        json!(1.5),
        json!(1u64 << 53),
        json!(-(1i64 << 53)),
        json!(u64::MAX),
        json!(1e300),
    ] {
        assert!(
            row_bytes(json!({"n": number}).as_object().unwrap()).is_err(),
            "{number}"
        );
    }
    let largest = json!({"n": (1i64 << 53) - 1, "m": 1 - (1i64 << 53)});
    assert_eq!(
        row_bytes(largest.as_object().unwrap()).unwrap(),
        br#"{"m":-9007199254740991,"n":9007199254740991}"#
    );
}

#[test]
fn the_split_record_with_its_sequence_is_canonical() {
    let record = sample::complete();
    let (before, after) = split(&record, "log-1");
    let whole = [&before[..], b"18446744073709551615", &after[..]].concat();
    let row: Map<String, Value> = serde_json::from_slice(&whole).unwrap();
    assert_eq!(row_bytes(&row).unwrap(), whole);
    assert_eq!(row["sequence"], "18446744073709551615");
    assert_eq!(row["logID"], "log-1");
    assert_eq!(
        row["requestReceivedTimestamp"],
        "2026-01-02T03:04:05.000000Z"
    );
    assert_eq!(row["stageTimestamp"], "2026-01-02T03:04:05.123456Z");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<Ipv4Addr>().prop_map(|address| address.to_string().into()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_parse_to_the_same_row_and_are_a_fixed_point(
        members in prop::collection::btree_map(any::<String>(), any_value(), 0..8)
    ) {
        let row: Map<String, Value> = members.into_iter().collect();
        let bytes = row_bytes(&row).unwrap();
        let parsed: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&parsed, &row);
        prop_assert_eq!(row_bytes(&parsed).unwrap(), bytes);
    }
}

proptest! {
    #[test]
    fn length_is_known_before_the_bytes_are_made(text in any::<String>(), log_id in any::<String>()) {
        let record = Record {
            request_object: Some(Masked::in_test(text.clone())),
            verb: text,
            ..sample::complete()
        };
        let (before, after) = split(&record, &log_id);
        prop_assert_eq!(length(&record, &log_id), before.len() + after.len());
    }
}
