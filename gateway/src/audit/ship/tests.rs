use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    audit::{
        canonical,
        log::Log,
        query::{self, Digest, Filter, Sources, newest_calls},
        record::{self, DecisionKind, sample},
        store::{Archive, listing::StoredFile},
        wal::Cut,
    },
    config::{self, ByteSize, Flush, HumanDuration, Recording, WalConfig},
};

/// A gateway's directories, with its real log and store in them.
struct Node {
    directory: TempDir,
}

const NEVER: HumanDuration = HumanDuration(Duration::from_secs(1 << 20));

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn recording(&self, flush: Flush) -> Recording {
        Recording {
            policy_file: None,
            allow_none: false,
            read_lag: false,
            wal: WalConfig {
                directory: self.path("wal"),
                limit: ByteSize(16 << 20),
                segment_size: ByteSize(1 << 20),
            },
            store: config::Store::Directory(self.path("store")),
            flush,
        }
    }

    fn open(&self) -> (Log, Shipper) {
        self.open_with(Flush {
            interval: NEVER,
            urgent_interval: NEVER,
            size: ByteSize(1 << 40),
        })
    }

    fn open_with(&self, flush: Flush) -> (Log, Shipper) {
        Log::open(&self.recording(flush), "prod").unwrap()
    }

    fn sources(&self) -> Sources {
        Sources {
            store: self.archive(),
            wal: Some(self.path("wal")),
            deadline: None,
        }
    }

    fn archive(&self) -> Archive {
        Archive::Directory(self.path("store"))
    }

    fn files(&self) -> Vec<StoredFile> {
        self.archive()
            .newest_first(|location, error| panic!("{location}: {error}"))
    }

    fn calls(&self, sources: &Sources) -> Vec<(String, String)> {
        let (calls, report) = newest_calls(sources, &Filter::default(), usize::MAX);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let call = |call: &query::Record| {
            (
                call.audit_id().to_owned(),
                call.text(&["outcome"]).unwrap().to_owned(),
            )
        };
        calls.iter().map(call).collect()
    }

    fn all_calls(&self) -> Vec<(String, String)> {
        self.calls(&self.sources())
    }

    fn stored_calls(&self) -> Vec<(String, String)> {
        self.calls(&Sources {
            wal: None,
            ..self.sources()
        })
    }
}

async fn call(log: &Log, audit_id: &str) {
    log.append(&sample::intent(audit_id)).await.unwrap();
    log.append(&sample::outcome(audit_id)).await.unwrap();
}

fn complete(audit_ids: &[&str]) -> Vec<(String, String)> {
    audit_ids
        .iter()
        .map(|id| ((*id).to_owned(), "complete".to_owned()))
        .collect()
}

/// What a process did that died before it could release the range.
async fn write_file(shipper: &Shipper, cut: Cut) -> PathBuf {
    let file = uploads::encode(&shipper.wal, cut).unwrap();
    let put = shipper
        .uploads
        .store
        .put(&file.range, file.first_appended, file.bytes);
    put.await.unwrap().into()
}

async fn stop(log: Log, shipper: Shipper) {
    drop(shipper);
    log.close().await;
}

#[tokio::test]
async fn every_field_of_a_record_survives_log_and_file() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    let record = sample::complete();
    let appended = log.append(&record).await.unwrap();
    let (before, after) = canonical::split(&record, log.log_id());
    let canonical = [
        &before[..],
        appended.sequence.to_string().as_bytes(),
        &after[..],
    ]
    .concat();

    let (live, _) = query::show(&node.sources(), &record.audit_id);
    let live = live.outcome.unwrap();
    assert_eq!(
        live.digest,
        Digest::NotYetRecorded(canonical::digest(&canonical))
    );
    assert_eq!(canonical::row_bytes(&live.record.0).unwrap(), canonical);

    shipper.ship().await;
    let (sealed, _) = query::show(&node.sources(), &record.audit_id);
    let sealed = sealed.outcome.unwrap();
    assert_eq!(
        sealed.digest,
        Digest::Matches(canonical::digest(&canonical))
    );
    assert_eq!(canonical::row_bytes(&sealed.record.0).unwrap(), canonical);
    assert_eq!(sealed.source, node.archive().name(&node.files()[0]));
}

#[tokio::test]
async fn a_call_is_listed_once_before_during_and_after_shipping() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    call(&log, "a").await;
    log.append(&sample::intent("b")).await.unwrap();
    let expected = [
        ("a".to_owned(), "complete".to_owned()),
        ("b".to_owned(), "unknown".to_owned()),
    ];
    assert_eq!(node.all_calls(), expected);
    assert!(node.stored_calls().is_empty());

    shipper.ship().await;
    assert_eq!(node.all_calls(), expected);
    assert_eq!(node.stored_calls(), expected);

    log.append(&sample::outcome("b")).await.unwrap();
    assert_eq!(node.all_calls(), complete(&["a", "b"]));
    shipper.ship().await;
    assert_eq!(node.stored_calls(), complete(&["a", "b"]));
    assert_eq!(node.files().len(), 2);
}

#[tokio::test]
async fn nothing_appended_makes_no_file() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    shipper.ship().await;
    call(&log, "a").await;
    shipper.ship().await;
    shipper.ship().await;
    assert_eq!(node.files().len(), 1);
    assert_eq!(
        *shipper.status().borrow(),
        Status {
            files_written: 1,
            ..Status::default()
        }
    );
}

#[tokio::test]
async fn a_crash_between_store_and_release_ends_in_the_same_file() {
    let node = Node::new();
    let (log, shipper) = node.open();
    call(&log, "a").await;
    let cut = shipper.wal.cut().await.unwrap().unwrap();
    let path = write_file(&shipper, cut).await;
    let stored = fs::read(&path).unwrap();
    stop(log, shipper).await;

    let (_log, mut shipper) = node.open();
    assert_eq!(shipper.wal.pending_cuts(), [cut]);
    shipper.ship().await;
    assert_eq!(shipper.status().borrow().last_error, None);
    assert!(shipper.wal.pending_cuts().is_empty());
    assert_eq!(node.files().len(), 1);
    assert_eq!(fs::read(&path).unwrap(), stored);
}

#[tokio::test]
async fn a_cut_that_was_not_encoded_before_a_crash_is_afterwards() {
    let node = Node::new();
    let (log, shipper) = node.open();
    call(&log, "a").await;
    shipper.wal.cut().await.unwrap().unwrap();
    call(&log, "b").await;
    stop(log, shipper).await;

    let (_log, mut shipper) = node.open();
    shipper.ship().await;
    let ranges: Vec<_> = node
        .files()
        .iter()
        .map(|file| (file.range.first, file.range.last))
        .collect();
    assert_eq!(ranges, [(3, 4), (1, 2)]);
    assert_eq!(node.stored_calls(), complete(&["a", "b"]));
}

#[tokio::test]
async fn a_store_that_fails_loses_nothing() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    let obstacle = node.path("store/v=1");
    fs::write(&obstacle, "not a directory").unwrap();
    call(&log, "a").await;
    shipper.ship().await;
    call(&log, "b").await;
    shipper.ship().await;
    let status = shipper.status().borrow().clone();
    assert_eq!(
        (status.pending_cuts, status.files_written, status.failures),
        (2, 0, 2)
    );
    assert!(status.last_error.unwrap().contains("store"));
    assert!(shipper.uploads.retry.is_some());

    fs::remove_file(obstacle).unwrap();
    shipper.ship().await;
    let status = shipper.status().borrow().clone();
    assert_eq!(
        (status.pending_cuts, status.files_written, status.last_error),
        (0, 2, None)
    );
    assert!(shipper.uploads.retry.is_none());
    assert_eq!(node.stored_calls(), complete(&["a", "b"]));
}

#[tokio::test(start_paused = true)]
async fn cutting_goes_on_while_the_store_is_down() {
    let node = Node::new();
    let (log, shipper) = node.open_with(Flush {
        interval: NEVER,
        urgent_interval: NEVER,
        size: ByteSize(1),
    });
    let obstacle = node.path("store/v=1");
    fs::write(&obstacle, "not a directory").unwrap();
    let mut status = shipper.status();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    for (waiting, audit_id) in (1..).zip(["a", "b", "c"]) {
        call(&log, audit_id).await;
        status
            .wait_for(|status| status.pending_cuts >= waiting)
            .await
            .unwrap();
    }
    fs::remove_file(obstacle).unwrap();
    status
        .wait_for(|status| status.pending_cuts == 0 && status.last_error.is_none())
        .await
        .unwrap();
    shutdown.cancel();
    shipping.await.unwrap();
    assert!(node.files().len() >= 3);
    assert_eq!(node.stored_calls(), complete(&["a", "b", "c"]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_down_is_tried_every_ten_seconds_and_does_not_keep_the_process() {
    let node = Node::new();
    let (log, shipper) = node.open();
    let obstacle = node.path("store/v=1");
    fs::write(&obstacle, "not a directory").unwrap();
    call(&log, "a").await;
    shipper.wal.cut().await.unwrap().unwrap();
    let mut status = shipper.status();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    let mut tried = Vec::new();
    for failures in 1..=7 {
        status
            .wait_for(|status| status.failures >= failures)
            .await
            .unwrap();
        tried.push(Instant::now());
    }
    let pauses: Vec<_> = tried
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    shutdown.cancel();
    shipping.await.unwrap();
    fs::remove_file(obstacle).unwrap();
    assert!(node.files().is_empty());
    assert_eq!(node.all_calls(), complete(&["a"]), "the log keeps it");
}

#[tokio::test]
async fn one_range_that_cannot_be_stored_holds_back_only_itself() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    call(&log, "a").await;
    let cut = shipper.wal.cut().await.unwrap().unwrap();
    let path = write_file(&shipper, cut).await;
    let genuine = fs::read(&path).unwrap();
    fs::write(&path, "someone else's").unwrap();
    call(&log, "b").await;
    shipper.ship().await;

    let status = shipper.status().borrow().clone();
    assert_eq!((status.pending_cuts, status.files_written), (1, 1));
    let error = status.last_error.unwrap();
    assert!(
        error.contains("records 1 to 2") && error.contains(path.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(
        shipper.wal.pending_cuts().len(),
        2,
        "the log frees space from its front only"
    );
    assert_eq!(fs::read(&path).unwrap(), b"someone else's");

    fs::remove_file(&path).unwrap();
    shipper.ship().await;
    assert!(shipper.wal.pending_cuts().is_empty());
    assert_eq!(fs::read(&path).unwrap(), genuine);
    assert_eq!(
        shipper.status().borrow().files_written,
        2,
        "what was stored is not stored again"
    );
    assert_eq!(node.stored_calls(), complete(&["a", "b"]));
}

#[tokio::test]
async fn what_is_left_is_shipped_on_shutdown() {
    let node = Node::new();
    let (log, shipper) = node.open();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    call(&log, "a").await;
    shutdown.cancel();
    shipping.await.unwrap();
    log.close().await;
    assert_eq!(node.stored_calls(), complete(&["a"]));
}

#[tokio::test]
async fn a_denied_call_is_shipped_without_waiting_for_the_others() {
    let node = Node::new();
    let (log, shipper) = node.open_with(Flush {
        interval: NEVER,
        urgent_interval: HumanDuration(Duration::ZERO),
        size: ByteSize(1 << 40),
    });
    let mut status = shipper.status();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    let denied = record::Record {
        decision: Some(DecisionKind::Deny),
        ..sample::outcome("denied")
    };
    log.append(&denied).await.unwrap();
    status
        .wait_for(|status| status.files_written == 1)
        .await
        .unwrap();
    assert_eq!(node.stored_calls(), complete(&["denied"]));
    shutdown.cancel();
    shipping.await.unwrap();
}

#[tokio::test]
async fn a_full_backlog_is_shipped_without_waiting() {
    let node = Node::new();
    let (log, shipper) = node.open_with(Flush {
        interval: NEVER,
        urgent_interval: NEVER,
        size: ByteSize(1),
    });
    let mut status = shipper.status();
    let shutdown = CancellationToken::new();
    let shipping = tokio::spawn(shipper.run(shutdown.clone()));
    call(&log, "a").await;
    status
        .wait_for(|status| status.files_written > 0)
        .await
        .unwrap();
    shutdown.cancel();
    shipping.await.unwrap();
    assert_eq!(node.stored_calls(), complete(&["a"]));
}

#[tokio::test]
async fn a_damaged_log_is_named_and_what_is_stored_is_shown() {
    let node = Node::new();
    let (log, mut shipper) = node.open();
    call(&log, "a").await;
    shipper.ship().await;
    stop(log, shipper).await;
    let sources = Sources {
        wal: Some(node.path("missing")),
        ..node.sources()
    };
    let (calls, report) = newest_calls(&sources, &Filter::default(), 10);
    assert_eq!(calls.len(), 1);
    assert_eq!(
        report.problems[0].location,
        node.path("missing").display().to_string()
    );
}
