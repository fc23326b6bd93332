use serde_json::Value;

use super::*;
use crate::{
    audit::record::sample,
    config::{self, ByteSize},
    mask::Masked,
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(5);
const FULL: u64 = 1000;

#[test]
fn only_what_is_due_sooner_wakes_the_shipper() {
    let mut backlog = Backlog::default();
    assert!(
        backlog.add(10, LONG, FULL),
        "the first record sets the time"
    );
    let first = backlog.due();
    assert!(!backlog.add(10, LONG, FULL));
    assert_eq!(backlog.due(), first);
    assert!(backlog.add(10, SHORT, FULL), "a denied call is due sooner");
    let urgent = backlog.due();
    assert!(urgent < first);
    assert!(
        backlog.add(FULL, LONG, FULL),
        "a full backlog is due at once"
    );
    assert!(backlog.due() < urgent);
    assert!(!backlog.add(10, SHORT, FULL));
}

fn open(directory: &tempfile::TempDir, segment_size: u64) -> Log {
    let config = Recording {
        policy_file: None,
        allow_none: false,
        read_lag: false,
        wal: WalConfig {
            directory: directory.path().join("wal"),
            limit: ByteSize(16 * segment_size),
            segment_size: ByteSize(segment_size),
        },
        store: config::Store::Directory(directory.path().join("store")),
        flush: Flush::default(),
    };
    Log::open(&config, "prod").unwrap().0
}

fn newest(directory: &tempfile::TempDir) -> Value {
    let frames = wal::scan(&directory.path().join("wal")).unwrap();
    serde_json::from_slice(&frames.last().unwrap().unwrap().payload).unwrap()
}

/// Each doubles where a body is written into a row.
fn backslashes(length: usize) -> Option<Masked<String>> {
    Some(Masked::in_test("\\".repeat(length)))
}

#[tokio::test]
async fn what_is_no_agents_call_takes_no_room_of_outcomes_and_hurries_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, 16 << 10);
    let record = Record {
        decision: Some(DecisionKind::Deny),
        ..sample::outcome("a")
    };
    assert!(log.encode(&record).unwrap().urgent);
    let allowed = Record {
        decision: Some(DecisionKind::Allow),
        ..record.clone()
    };
    let outcome = log.encode(&allowed).unwrap();
    assert_eq!(outcome.payload.headroom, Headroom::Use);
    for record in [record, allowed] {
        let spare = log.encode(&record).unwrap().in_spare_room();
        assert_eq!(
            (spare.payload.headroom, spare.urgent),
            (Headroom::Spare, false)
        );
    }
    log.close().await;
}

#[tokio::test]
async fn bodies_that_fit_no_segment_are_left_out_and_their_digests_stay() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, 4 << 20);
    let record = Record {
        request_object: backslashes(1 << 20),
        response_object: backslashes(1 << 20),
        ..sample::outcome("a")
    };
    log.append(&record).await.unwrap();
    let row = newest(&directory);
    assert!(row.get("requestObject").is_none() && row.get("responseObject").is_none());
    assert_eq!(row["bodyState"], "digest-only");
    assert_eq!(row["requestDigest"], record.request_digest.unwrap());
    assert_eq!(row["responseDigest"], record.response_digest.unwrap());
    log.close().await;
}

#[tokio::test]
async fn two_largest_bodies_fit_a_segment_of_8_mib() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, 8 << 20);
    let record = Record {
        request_object: backslashes(1 << 20),
        response_object: backslashes(1 << 20),
        ..sample::outcome("a")
    };
    log.append(&record).await.unwrap();
    assert_eq!(newest(&directory)["bodyState"], "inline");
    log.close().await;
}

#[tokio::test]
async fn an_intent_leaves_room_for_what_its_outcome_adds() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, 16 << 10);
    let largest = log.wal.largest_payload();
    let with_uri = |record: Record, length: usize| Record {
        request_uri: Masked::in_test("x".repeat(length)),
        request_object: None,
        ..record
    };
    let refused = log
        .append(&with_uri(sample::intent("a"), largest / 2))
        .await;
    assert!(
        matches!(refused, Err(NotRecorded::TooLarge { .. })),
        "{refused:?}"
    );
    let outcome = with_uri(sample::outcome("a"), largest / 2);
    log.append(&outcome).await.unwrap();
    let refused = log.append(&with_uri(outcome, largest)).await;
    assert!(
        matches!(refused, Err(NotRecorded::TooLarge { .. })),
        "{refused:?}"
    );
    log.close().await;
}

#[tokio::test]
async fn the_largest_payload_is_the_largest_that_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, 16 << 10);
    let largest = log.wal.largest_payload();
    let of = |length: usize| Payload {
        before: vec![b'x'; length].into(),
        ..Payload::default()
    };
    log.wal.append(of(largest)).await.unwrap();
    let refused = log.wal.append(of(largest + 8)).await;
    assert!(
        matches!(refused, Err(NotRecorded::TooLarge { .. })),
        "{refused:?}"
    );
    log.close().await;
}
