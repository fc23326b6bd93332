use ::parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    file::reader::{FileReader, SerializedFileReader},
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    rows::{Row, rows},
    *,
};
use crate::audit::record::{Record, sample};

fn canonical_bytes(record: &Record, sequence: u64) -> Vec<u8> {
    let (before, after) = canonical::split(record, "log-1");
    [&before[..], sequence.to_string().as_bytes(), &after[..]].concat()
}

fn range(first: u64, last: u64) -> Range {
    Range {
        log_id: "log-1".to_owned(),
        first,
        last,
    }
}

fn encode(first: u64, payloads: &[Vec<u8>]) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new(range(first, first + payloads.len() as u64 - 1))?;
    for (sequence, payload) in (first..).zip(payloads) {
        encoder.add(sequence, payload)?;
    }
    encoder.finish().map(Bytes::from)
}

fn read(file: &Bytes) -> Vec<(Row, Option<[u8; 32]>)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone())
        .unwrap()
        .build()
        .unwrap();
    reader
        .flat_map(|batch| rows(&batch.unwrap()).collect::<Vec<_>>())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn many(first: u64, count: u64) -> Vec<Vec<u8>> {
    let pairs = (first..first + count).map(|sequence| {
        let audit_id = format!("call-{}", sequence / 2);
        let record = if sequence % 2 == 0 {
            sample::intent(&audit_id)
        } else {
            sample::outcome(&audit_id)
        };
        canonical_bytes(&record, sequence)
    });
    pairs.collect()
}

#[test]
fn every_column_survives_the_round_trip() {
    let payload = canonical_bytes(&sample::complete(), i64::MAX as u64);
    let file = encode(i64::MAX as u64, std::slice::from_ref(&payload)).unwrap();
    let [(row, digest)] = &read(&file)[..] else {
        panic!("one row")
    };
    assert_eq!(
        String::from_utf8(canonical::row_bytes(row).unwrap()).unwrap(),
        String::from_utf8(payload).unwrap()
    );
    assert_eq!(
        *digest,
        Some(canonical::digest(&canonical::row_bytes(row).unwrap()))
    );
}

#[test]
fn the_canonical_vectors_survive_the_round_trip() {
    for vector in [
        include_str!("../canonical/intent.canonical.json"),
        include_str!("../canonical/outcome.canonical.json"),
    ] {
        let sequence = serde_json::from_str::<Row>(vector).unwrap()["sequence"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let file = encode(sequence, &[vector.as_bytes().to_vec()]).unwrap();
        assert_eq!(
            String::from_utf8(canonical::row_bytes(&read(&file)[0].0).unwrap()).unwrap(),
            vector
        );
    }
}

#[test]
fn absent_and_empty_stay_different() {
    let record = Record {
        gen_ai: Some(Default::default()),
        agent: None,
        session_id: Some(String::new()),
        ..sample::complete()
    };
    let payload = canonical_bytes(&record, 1);
    let row = &read(&encode(1, std::slice::from_ref(&payload)).unwrap())[0].0;
    assert_eq!(row["gen_ai"], Value::Object(Row::new()));
    assert!(!row.contains_key("agent"));
    assert_eq!(canonical::row_bytes(row).unwrap(), payload);
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let payloads = many(10, 3000);
    assert_eq!(
        encode(10, &payloads).unwrap(),
        encode(10, &payloads).unwrap()
    );
}

#[test]
fn all_rows_of_many_batches_come_back_in_order() {
    let payloads = many(7, 2 * BATCH_ROWS as u64 + 1);
    let found = read(&encode(7, &payloads).unwrap());
    let bytes: Vec<_> = found
        .iter()
        .map(|(row, _)| canonical::row_bytes(row).unwrap())
        .collect();
    assert!(bytes == payloads);
}

#[test]
fn the_footer_names_the_range_and_the_layout_fits_its_readers() {
    let file = encode(1, &many(1, 100)).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let metadata = reader.metadata();
    let entries = metadata.file_metadata().key_value_metadata().unwrap();
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (entry.key.as_str(), entry.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        entries,
        [
            ("schemaVersion", "1"),
            ("logID", "log-1"),
            ("first", "1"),
            ("last", "100")
        ]
    );

    let group = metadata.row_group(0);
    let column = |name: &str| {
        group
            .columns()
            .iter()
            .find(|column| column.column_path().string() == name)
            .unwrap()
    };
    assert!(matches!(
        column("requestObject").compression(),
        Compression::ZSTD(_)
    ));
    for name in ["requestObject", "responseObject", "recordDigest"] {
        assert!(column(name).statistics().is_none(), "{name}");
        assert!(column(name).dictionary_page_offset().is_none(), "{name}");
    }
    assert!(column("auditID").dictionary_page_offset().is_none());
    assert!(column("verb").dictionary_page_offset().is_some());
    for name in ["auditID", "sessionID"] {
        let filter = column(name).bloom_filter_length().unwrap();
        assert!(filter < 4096, "{name}: {filter} bytes for 100 rows");
    }
}

#[test]
fn what_is_not_exactly_the_range_is_refused() {
    let payloads = many(1, 3);
    let mut gap = Encoder::new(range(1, 3)).unwrap();
    gap.add(1, &payloads[0]).unwrap();
    assert!(matches!(
        gap.add(3, &payloads[2]),
        Err(EncodeError::OutOfOrder { expected: 2, .. })
    ));

    let mut short = Encoder::new(range(1, 3)).unwrap();
    short.add(1, &payloads[0]).unwrap();
    assert!(matches!(
        short.finish(),
        Err(EncodeError::OutOfOrder { expected: 2, .. })
    ));

    let mut long = Encoder::new(range(1, 1)).unwrap();
    long.add(1, &payloads[0]).unwrap();
    assert!(matches!(
        long.add(2, &payloads[1]),
        Err(EncodeError::OutOfOrder { .. })
    ));

    let mut mislabelled = Encoder::new(range(1, 1)).unwrap();
    mislabelled.add(1, &payloads[1]).unwrap();
    assert!(matches!(
        mislabelled.finish(),
        Err(EncodeError::OutOfOrder { .. })
    ));
}

#[test]
fn what_is_not_a_row_is_named_by_its_sequence() {
    let whole = canonical_bytes(&sample::complete(), 1);
    let text = String::from_utf8(whole.clone()).unwrap();
    for (what, payload) in [
        ("cut short", whole[..whole.len() - 1].to_vec()),
        ("two rows", [whole.clone(), whole.clone()].concat()),
        ("nothing", Vec::new()),
    ] {
        let mut encoder = Encoder::new(range(1, 1)).unwrap();
        assert!(
            matches!(
                encoder.add(1, &payload),
                Err(EncodeError::NotOneRow { sequence: 1 })
            ),
            "{what}"
        );
    }
    for (what, payload) in [
        ("unknown column", text.replacen("\"verb\"", "\"werb\"", 1)),
        (
            "text for a number",
            text.replacen("\"schemaVersion\":1", "\"schemaVersion\":\"one\"", 1),
        ),
        (
            "no time",
            text.replacen("2026-01-02T03:04:05.123456Z", "yesterday", 1),
        ),
        (
            "no audit id",
            text.replacen(
                "\"auditID\":\"01976f3e-8f00-7aaa-8bbb-0123456789ab\",",
                "",
                1,
            ),
        ),
    ] {
        assert_ne!(payload, text, "{what}");
        assert!(
            matches!(
                encode(1, &[payload.into_bytes()]),
                Err(EncodeError::NotARow { sequence: 1, .. })
            ),
            "{what}"
        );
    }
}

#[test]
fn what_is_not_canonical_is_refused() {
    let whole = String::from_utf8(canonical_bytes(&sample::complete(), 1)).unwrap();
    for (found, instead) in [
        (",\"verb\"", ", \"verb\""),
        ("\"create\"", "\"cr\\/eate\""),
        ("\"create\"", "\"cr\\u0041eate\""),
        ("\"create\"", "\"cr\\u000aeate\""),
        ("\"create\"", "\"cr\\u001Beate\""),
        ("\"create\"", "\"\\u001bcr\neate\""),
        ("\"create\"", "null"),
        (
            "\"verb\":\"create\",",
            "\"verb\":\"create\",\"verb\":\"create\",",
        ),
        ("\"verb\":\"create\",", "\"verb\":\"create\",\"user\":{},"),
        ("\"schemaVersion\":1", "\"schemaVersion\":1.0"),
        ("\"requestBytes\":\"17\"", "\"requestBytes\":17"),
    ] {
        let payload = whole.replacen(found, instead, 1);
        assert_ne!(payload, whole, "{found}");
        assert!(
            matches!(
                encode(1, &[payload.into_bytes()]),
                Err(EncodeError::NotARow { sequence: 1, .. })
            ),
            "{instead}"
        );
    }
}

/// Columns whose strings are numbers or times.
const PARSED: [&str; 9] = [
    "sequence",
    "durationMicros",
    "heldMicros",
    "requestBytes",
    "responseBytes",
    "itemCount",
    "requestReceivedTimestamp",
    "stageTimestamp",
    "schemaVersion",
];

/// Replaces every text in `value`.
fn refill(value: &mut Value, texts: &mut impl Iterator<Item = String>) {
    match value {
        Value::String(text) => *text = texts.next().unwrap_or_default(),
        Value::Array(values) => values.iter_mut().for_each(|value| refill(value, texts)),
        Value::Object(members) => members
            .iter_mut()
            .filter(|(name, _)| *name != "decidedAt")
            .for_each(|(_, value)| refill(value, texts)),
        _ => {}
    }
}

proptest! {
    /// Cut anywhere, or with any byte changed, a payload is refused or is some row; it never panics.
    #[test]
    fn no_payload_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = canonical_bytes(&sample::complete(), 1);
        let at = at.index(payload.len());
        let cut = encode(1, &[payload[..at].to_vec()]);
        let refused = matches!(cut, Err(EncodeError::NotOneRow { .. } | EncodeError::NotARow { .. }));
        prop_assert!(refused);
        payload[at] = byte;
        drop(encode(1, &[payload]));
    }

    /// Whatever agents put into names, headers and bodies, a row is what its record was.
    #[test]
    fn any_text_in_any_column_survives_the_round_trip(
        texts in prop::collection::vec(any::<String>(), 1..20),
        body in "\\PC{0,2000}",
        absent in any::<u64>(),
    ) {
        let mut row: Row = serde_json::from_slice(&canonical_bytes(&sample::complete(), 5)).unwrap();
        let optional = |index: usize| absent >> (index % 64) & 1 == 1;
        let names: Vec<_> = row.keys().cloned().collect();
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !PARSED.contains(&name.as_str())) {
            let nullable = schema::calls().field_with_name(name).unwrap().is_nullable();
            if nullable && optional(index) {
                row.remove(name);
            } else {
                refill(&mut row[name], &mut texts.iter().cycle().skip(index).cloned());
            }
        }
        row.insert("objectBefore".to_owned(), body.into());
        let canonical = canonical::row_bytes(&row).unwrap();
        let found = read(&encode(5, std::slice::from_ref(&canonical)).unwrap());
        prop_assert_eq!(&found[0].0, &row);
        prop_assert_eq!(found[0].1, Some(canonical::digest(&canonical)));
    }
}
