use std::{
    fs,
    path::{Path, PathBuf},
};

use ::parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use arrow::array::{ArrayRef, StringArray};
use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::audit::{
    canonical,
    parquet::{Encoder, Range},
    record::{self, DecisionKind, ObjectRef, ResponseStatus, sample},
    schema,
    store::{self, Directory},
};

/// A store on disk, with one log whose records are a second apart.
struct Shelf {
    directory: TempDir,
    store: Directory,
}

fn at(second: i64) -> Timestamp {
    "2026-03-04T05:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn received(second: i64, record: record::Record) -> record::Record {
    record::Record {
        request_received_timestamp: at(second),
        stage_timestamp: at(second),
        ..record
    }
}

impl Shelf {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Directory::open(directory.path()).unwrap();
        Self { directory, store }
    }

    fn sources(&self) -> Sources {
        Sources {
            store: Archive::Directory(self.directory.path().to_owned()),
            wal: None,
            deadline: None,
        }
    }

    /// Puts a file whose first record is appended at the receipt of its first call.
    fn file(&self, log_id: &str, first: u64, records: &[record::Record]) -> PathBuf {
        let range = Range {
            log_id: log_id.to_owned(),
            first,
            last: first + records.len() as u64 - 1,
        };
        let mut encoder = Encoder::new(range.clone()).unwrap();
        for (sequence, record) in (first..).zip(records) {
            let (before, after) = canonical::split(record, log_id);
            encoder
                .add(
                    sequence,
                    &[&before[..], sequence.to_string().as_bytes(), &after[..]].concat(),
                )
                .unwrap();
        }
        let name = store::name("prod", &range, records[0].request_received_timestamp);
        self.store.put(&name, &encoder.finish().unwrap()).unwrap()
    }

    /// One file of whole calls, received from `second` on.
    fn calls(&self, log_id: &str, first: u64, second: i64, names: &[&str]) -> PathBuf {
        let pairs = names.iter().zip(second..).flat_map(|(name, second)| {
            [
                received(second, sample::intent(name)),
                received(second, sample::outcome(name)),
            ]
        });
        self.file(log_id, first, &pairs.collect::<Vec<_>>())
    }

    fn newest(&self, filter: &Filter, limit: usize) -> (Vec<String>, Report) {
        let (calls, report) = newest_calls(&self.sources(), filter, limit);
        (
            calls
                .iter()
                .map(|call| call.audit_id().to_owned())
                .collect(),
            report,
        )
    }
}

fn assert_clean(report: &Report) {
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn the_newest_calls_of_all_logs_come_oldest_first() {
    let shelf = Shelf::new();
    shelf.calls("log-a", 1, 0, &["a0", "a1"]);
    shelf.calls("log-a", 5, 7300, &["a2", "a3"]);
    shelf.calls("log-b", 1, 3600, &["b0"]);
    let (calls, report) = shelf.newest(&Filter::default(), 3);
    assert_eq!(calls, ["b0", "a2", "a3"]);
    assert_clean(&report);
    assert_eq!(
        shelf.newest(&Filter::default(), 100).0,
        ["a0", "a1", "b0", "a2", "a3"]
    );
}

#[test]
fn pages_of_whole_calls_have_no_gap_and_only_the_last_is_not_full() {
    let shelf = Shelf::new();
    shelf.calls("log-a", 1, 0, &["a0", "a1"]);
    shelf.calls("log-a", 5, 7300, &["a2", "a3"]);
    shelf.calls("log-b", 1, 3600, &["b0"]);
    for (limit, room) in [(2, usize::MAX), (1, usize::MAX), (100, 1)] {
        let (mut filter, mut taken) = (Filter::default(), Vec::new());
        loop {
            let WholeCalls {
                calls,
                is_full,
                report,
            } = newest_whole_calls(&shelf.sources(), &filter, limit, room);
            assert_clean(&report);
            taken.extend(calls.iter().rev().map(|call| call.audit_id().to_owned()));
            if !is_full {
                break;
            }
            let oldest = calls[0].received().unwrap();
            filter.until = oldest.checked_sub(SignedDuration::from_millis(1)).ok();
        }
        assert_eq!(taken, ["a3", "a2", "b0", "a1", "a0"], "{limit}, {room}");
    }
}

#[test]
fn lists_read_no_bodies_and_no_older_files_than_they_need() {
    let shelf = Shelf::new();
    for file in 0..5 {
        shelf.calls(
            "log-a",
            1 + 4 * file,
            file as i64 * 7200,
            &[&format!("{file}-0"), &format!("{file}-1")],
        );
    }
    let (calls, report) = newest_calls(&shelf.sources(), &Filter::default(), 2);
    assert_eq!(
        calls.iter().map(Record::audit_id).collect::<Vec<_>>(),
        ["4-0", "4-1"]
    );
    assert!(calls.iter().all(|call| {
        schema::BODIES
            .iter()
            .all(|body| !call.0.contains_key(*body))
    }));
    assert_eq!(
        (report.files_read, report.files),
        (2, 5),
        "the file before the newest may still end within its hour"
    );

    let since = Filter {
        since: Some(at(3 * 7200)),
        ..Filter::default()
    };
    let (calls, report) = shelf.newest(&since, 100);
    assert_eq!(calls, ["3-0", "3-1", "4-0", "4-1"]);
    assert_eq!(report.files_read, 3);
}

#[test]
fn an_outcome_long_after_its_request_belongs_to_the_request() {
    let shelf = Shelf::new();
    shelf.file("log-a", 1, &[received(0, sample::intent("watch"))]);
    shelf.calls("log-a", 2, 3600, &["other"]);
    let mut outcome = received(0, sample::outcome("watch"));
    outcome.stage_timestamp = at(7200);
    let late = record::Record {
        request_received_timestamp: at(0),
        ..outcome
    };
    let path = shelf.file("log-a", 4, &[late]);
    assert!(path.exists());
    let until = Filter {
        until: Some(at(10)),
        ..Filter::default()
    };
    let (calls, report) = newest_calls(&shelf.sources(), &until, 100);
    assert_clean(&report);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].text(&["outcome"]), Some("complete"));
}

#[test]
fn a_call_without_outcome_is_unknown() {
    let shelf = Shelf::new();
    shelf.file(
        "log-a",
        1,
        &[
            received(0, sample::intent("lost")),
            received(1, sample::outcome("done")),
        ],
    );
    let (calls, _) = newest_calls(&shelf.sources(), &Filter::default(), 100);
    let outcomes: Vec<_> = calls
        .iter()
        .map(|call| (call.audit_id(), call.text(&["outcome"]).unwrap()))
        .collect();
    assert_eq!(outcomes, [("lost", "unknown"), ("done", "complete")]);
}

#[test]
fn a_copied_file_is_counted_once() {
    let shelf = Shelf::new();
    let path = shelf.calls("log-a", 1, 0, &["a", "b"]);
    let range = Range {
        log_id: "log-a".to_owned(),
        first: 1,
        last: 4,
    };
    let copy = store::name("copy", &range, at(0));
    shelf.store.put(&copy, &fs::read(path).unwrap()).unwrap();
    assert_eq!(shelf.newest(&Filter::default(), 100).0, ["a", "b"]);
}

#[test]
fn every_call_is_handed_on_until_the_reader_has_enough() {
    let shelf = Shelf::new();
    shelf.calls("log-a", 1, 0, &["a", "b"]);
    shelf.calls("log-a", 5, 3600, &["c", "d"]);
    let mut all = Vec::new();
    assert_clean(&every_call(&shelf.sources(), &Filter::default(), |call| {
        all.push(call.audit_id().to_owned());
        ControlFlow::Continue(())
    }));
    assert_eq!(all, ["c", "d", "a", "b"]);

    let mut some = 0;
    let report = every_call(&shelf.sources(), &Filter::default(), |_| {
        some += 1;
        ControlFlow::Break(())
    });
    assert_eq!((some, report.files_read), (1, 1));
}

#[test]
fn every_filter_selects_by_its_column() {
    let shelf = Shelf::new();
    let other = record::Record {
        verb: "list".to_owned(),
        object_ref: Some(ObjectRef {
            resource: "pods".to_owned(),
            namespace: "dev".to_owned(),
            ..ObjectRef::default()
        }),
        agent: None,
        user: None,
        upstream_user: None,
        decision: Some(DecisionKind::Deny),
        response_status: Some(ResponseStatus {
            code: 403,
            ..ResponseStatus::default()
        }),
        ..sample::outcome("other")
    };
    shelf.file(
        "log-a",
        1,
        &[received(0, sample::outcome("sample")), received(1, other)],
    );
    let some = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    for (expected, filter) in [
        (
            "sample",
            Filter {
                agent: some("deployer"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                agent: some("Deployer"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                user: some("github:repo:acme/shop"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                user: some("sallyport:oidc:github:repo:acme/shop"),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                verb: some("list"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                resource: some("deployments"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                resource: some("deployments.apps"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                resource: some("deployments.apps/scale"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                resource: some("deployments/scale"),
                ..none()
            },
        ),
        (
            "",
            Filter {
                resource: some("deployments.batch"),
                ..none()
            },
        ),
        (
            "",
            Filter {
                resource: some("deployments/status"),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                namespace: some("dev"),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                name: some("web"),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                decision: some("deny"),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                status: Some(Status::Code(403)),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                status: Some(Status::Class(4)),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                status: Some(Status::Class(2)),
                ..none()
            },
        ),
        (
            "other",
            Filter {
                since: Some(at(1)),
                ..none()
            },
        ),
        (
            "sample",
            Filter {
                until: Some(at(0)),
                ..none()
            },
        ),
        (
            "",
            Filter {
                verb: some("list"),
                namespace: some("shop"),
                ..none()
            },
        ),
    ] {
        assert_eq!(
            shelf.newest(&filter, 100).0.join(" "),
            expected,
            "{filter:?}"
        );
    }
}

#[test]
fn statuses_are_codes_or_classes() {
    assert_eq!("404".parse(), Ok(Status::Code(404)));
    assert_eq!("5xx".parse(), Ok(Status::Class(5)));
    for text in ["", "xx", "0xx", "6xx", "44xx", "99", "600", "ok"] {
        assert!(text.parse::<Status>().is_err(), "{text}");
    }
}

#[test]
fn one_call_is_shown_in_full_with_its_digests() {
    let shelf = Shelf::new();
    shelf.calls("log-a", 1, 0, &["before"]);
    let path = shelf.calls("log-a", 3, 60, &["x", "y", "z"]);
    let (found, report) = show(&shelf.sources(), "y");
    assert_clean(&report);
    let (intent, outcome) = (found.intent.unwrap(), found.outcome.unwrap());
    assert_eq!(
        (intent.record.sequence(), outcome.record.sequence()),
        (Some(5), Some(6))
    );
    assert!(
        outcome
            .record
            .text(&["responseObject"])
            .unwrap()
            .contains("Secret")
    );
    assert_eq!(outcome.source, path.display().to_string());
    for evidence in [intent, outcome] {
        assert!(
            matches!(evidence.digest, Digest::Matches(_)),
            "{:?}",
            evidence.digest
        );
    }
    let (nothing, _) = show(&shelf.sources(), "yy");
    assert!(nothing.intent.is_none() && nothing.outcome.is_none());
}

#[test]
fn an_altered_column_is_seen() {
    let shelf = Shelf::new();
    let path = shelf.calls("log-a", 1, 0, &["x"]);
    alter(&path, "verb", "delete");
    let (found, _) = show(&shelf.sources(), "x");
    assert!(matches!(
        found.outcome.unwrap().digest,
        Digest::Differs { .. }
    ));
}

/// Writes the file again with one column's values replaced.
fn alter(path: &Path, column: &str, value: &str) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let batch = reader.map(Result::unwrap).next().unwrap();
    let mut columns = batch.columns().to_vec();
    let altered: ArrayRef = std::sync::Arc::new(StringArray::from(vec![value; batch.num_rows()]));
    columns[batch.schema().index_of(column).unwrap()] = altered;
    let batch = arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_shown() {
    let shelf = Shelf::new();
    shelf.calls("log-a", 1, 0, &["a"]);
    let damaged = shelf.calls("log-a", 3, 60, &["b"]);
    shelf.calls("log-a", 5, 120, &["c"]);
    let bytes = fs::read(&damaged).unwrap();
    for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..cut]).unwrap();
        let (calls, report) = shelf.newest(&Filter::default(), 100);
        assert_eq!(calls, ["a", "c"]);
        assert_eq!(report.problems.len(), 1);
        assert_eq!(report.problems[0].location, damaged.display().to_string());
    }
}

#[test]
fn no_flipped_byte_stops_the_reader_or_passes_for_what_was_recorded() {
    let shelf = Shelf::new();
    let path = shelf.calls("log-a", 1, 0, &["x"]);
    let bytes = fs::read(&path).unwrap();
    let (intact, _) = show(&shelf.sources(), "x");
    let intact = intact.outcome.unwrap().record;
    for position in (0..bytes.len()).step_by(101) {
        let mut flipped = bytes.clone();
        flipped[position] ^= 0x15;
        fs::write(&path, flipped).unwrap();
        newest_calls(&shelf.sources(), &Filter::default(), 10);
        let (found, _) = show(&shelf.sources(), "x");
        let matching = found
            .outcome
            .filter(|outcome| matches!(outcome.digest, Digest::Matches(_)));
        assert!(
            matching.is_none_or(|outcome| outcome.record == intact),
            "byte {position}"
        );
    }
}

#[test]
fn a_held_call_is_one_call_and_shows_its_hold() {
    let shelf = Shelf::new();
    shelf.file(
        "log-a",
        1,
        &[
            received(0, sample::intent("a")),
            received(1, sample::intent("b")),
        ],
    );
    shelf.file("log-a", 3, &[received(7200, sample::hold("a"))]);
    shelf.file("log-a", 4, &[received(7201, sample::hold("b"))]);
    shelf.file("log-a", 5, &[received(7202, sample::outcome("a"))]);
    let (calls, report) = newest_calls(&shelf.sources(), &Filter::default(), 10);
    assert_clean(&report);
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.audit_id(), call.text(&["outcome"])))
        .collect();
    assert_eq!(told, [("b", Some("unknown")), ("a", Some("complete"))]);
    assert_eq!(calls[0].text(&["approval", "state"]), Some("pending"));

    let (found, _) = show(&shelf.sources(), "a");
    let holds: Vec<_> = found.holds.iter().map(|hold| hold.digest).collect();
    assert!(matches!(holds[..], [Digest::Matches(_)]), "{holds:?}");
    assert!(found.intent.is_some() && found.outcome.is_some());
}

#[test]
fn a_query_whose_time_is_over_says_so_and_invents_no_unknown_outcome() {
    let shelf = Shelf::new();
    shelf.calls("log", 1, 0, &["a", "b"]);
    shelf.calls("log", 5, 10, &["c"]);
    let late = Sources {
        deadline: Some(Instant::now()),
        ..shelf.sources()
    };
    let (calls, report) = newest_calls(&late, &Filter::default(), 10);
    assert!(calls.is_empty(), "{calls:?}");
    assert!(report.is_cut);
    let said = report.problems[0].to_string();
    assert!(said.contains("in file 1 of 2"), "{said}");

    let (found, report) = show(&late, "a");
    assert!(found.is_empty() && report.is_cut);
    let in_time = Sources {
        deadline: Instant::now().checked_add(std::time::Duration::from_secs(3600)),
        ..shelf.sources()
    };
    let (calls, report) = newest_calls(&in_time, &Filter::default(), 10);
    assert_eq!((calls.len(), report.is_cut), (3, false));
}
