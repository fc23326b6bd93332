//! The whole log on a real file system.

use std::{path::Path, sync::Arc};

use super::{payload, small, stored};
use crate::audit::wal::{
    Cut, FileSystem, NotRecorded, OpenError, Options, Payload, Recovery, Wal, scan,
};

fn open(directory: &Path) -> (Wal, Recovery) {
    Wal::open(FileSystem::lock(directory).unwrap(), small()).unwrap()
}

async fn append(wal: &Wal, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        assert_eq!(wal.append(payload(id, 900)).await.unwrap().sequence, id);
    }
}

#[tokio::test]
async fn a_log_goes_on_where_it_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        log_id: None,
        ..small()
    };
    let (wal, recovery) =
        Wal::open(FileSystem::lock(directory.path()).unwrap(), options.clone()).unwrap();
    assert!(recovery.created);
    let id = wal.log_id().to_owned();
    append(&wal, 1..=20).await;
    wal.close().await;

    let (wal, recovery) = Wal::open(FileSystem::lock(directory.path()).unwrap(), options).unwrap();
    assert_eq!(
        (recovery.created, recovery.last_sequence, recovery.torn_tail),
        (false, 20, None)
    );
    assert_eq!(wal.log_id(), id);
    append(&wal, 21..=25).await;
    wal.close().await;
}

#[tokio::test]
async fn a_cut_is_read_back_byte_for_byte_and_stays_pending_until_released() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    append(&wal, 1..=40).await;
    let cut = wal.cut().await.unwrap().unwrap();
    assert_eq!(cut, Cut { first: 1, last: 40 });
    assert_eq!(wal.cut().await.unwrap(), None);
    append(&wal, 41..=45).await;
    wal.close().await;

    let (wal, recovery) = open(directory.path());
    assert_eq!(
        (recovery.pending_cuts, wal.pending_cuts()),
        (vec![cut], vec![cut])
    );
    for (frame, sequence) in wal.range(cut).unwrap().zip(1..) {
        assert!(frame.unwrap().payload == stored(&payload(sequence, 900), sequence));
    }
    assert_eq!(wal.range(cut).unwrap().count(), 40);
    wal.release(cut.last).unwrap();
    assert_eq!(wal.pending_cuts(), []);
    append(&wal, 46..=46).await;
    assert_eq!(
        wal.usage().oldest_unreleased_at_micros,
        wal.usage().oldest_uncut_at_micros
    );
    wal.close().await;
    let (wal, recovery) = open(directory.path());
    assert_eq!(recovery.pending_cuts, []);
    wal.close().await;
}

#[tokio::test]
async fn many_callers_get_different_sequences_without_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(
        FileSystem::lock(directory.path()).unwrap(),
        Options {
            queue_bytes: 4096,
            limit: 1 << 20,
            ..small()
        },
    )
    .unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for id in 0..300 {
        let wal = wal.clone();
        callers.spawn(async move { wal.append(payload(id, 700)).await.unwrap().sequence });
    }
    let mut sequences = callers.join_all().await;
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(1..=300));
    wal.close().await;
}

#[tokio::test]
async fn a_directory_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    assert!(matches!(
        FileSystem::lock(directory.path()),
        Err(OpenError::Locked { .. })
    ));
    wal.close().await;
    assert!(FileSystem::lock(directory.path()).is_ok());
}

#[tokio::test]
async fn a_closed_log_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    wal.clone().close().await;
    assert!(matches!(
        wal.append(payload(1, 10)).await,
        Err(NotRecorded::Closed)
    ));
    assert!(matches!(wal.cut().await, Err(NotRecorded::Closed)));
    assert!(matches!(wal.release(1), Err(NotRecorded::Closed)));
}

#[tokio::test]
async fn usage_tells_what_is_uncut_and_what_is_unreleased() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    append(&wal, 1..=3).await;
    let before = wal.usage();
    assert!(before.uncut_bytes > 2700 && before.uncut_bytes == before.unreleased_bytes);
    assert!(before.oldest_uncut_at_micros.is_some());
    wal.cut().await.unwrap();
    let after = wal.usage();
    assert_eq!((after.uncut_bytes, after.oldest_uncut_at_micros), (0, None));
    assert_eq!(
        (after.unreleased_bytes, after.last_sequence),
        (before.unreleased_bytes, 3)
    );
    assert!(!after.warning && !after.failing && after.used < after.limit);
    wal.close().await;
}

#[tokio::test]
async fn a_log_that_fills_up_warns_before_it_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    let mut warned_at = None;
    let refused = loop {
        match wal.append(payload(0, 900)).await {
            Ok(_) if wal.usage().warning => {
                warned_at = warned_at.or_else(|| Some(wal.usage().used))
            }
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, NotRecorded::Full { .. }), "{refused}");
    let (warned_at, limit) = (warned_at.unwrap(), wal.usage().limit);
    assert!(
        (70..75).contains(&(100 * warned_at / limit)),
        "{warned_at} of {limit}"
    );
    wal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_reads_while_records_are_written_and_released() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    let path: Arc<Path> = directory.path().into();
    let writing = tokio::spawn(async move {
        for id in 1..=400 {
            append(&wal, id..=id).await;
            if id % 20 == 0
                && let Some(cut) = wal.cut().await.unwrap()
                && id % 60 == 0
            {
                wal.release(cut.last).unwrap();
            }
        }
        wal
    });
    let mut scans = 0;
    while !writing.is_finished() || scans == 0 {
        read_once(&path);
        scans += 1;
        tokio::task::yield_now().await;
    }
    let wal = writing.await.unwrap();
    assert_eq!(scan(&path).unwrap().last().unwrap().unwrap().sequence, 400);
    assert_eq!(scan(&path).unwrap().log_id(), Some("log"));
    wal.close().await;
}

/// What a scan finds is in order and whole; only released records may be passed over.
fn read_once(path: &Path) {
    let mut last = 0;
    for frame in scan(path).unwrap() {
        let frame = frame.unwrap();
        assert!(frame.sequence > last);
        last = frame.sequence;
        assert!(
            frame.payload == stored(&payload(last, 900), last),
            "record {last}"
        );
    }
}

#[tokio::test]
async fn a_scan_of_an_empty_directory_finds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut found = scan(directory.path()).unwrap();
    assert!(found.log_id().is_none() && found.next().is_none());
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_disturb_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    for _ in 0..50 {
        let mut leaving = Box::pin(wal.append(Payload::default()));
        let polled = futures_util::poll!(leaving.as_mut());
        drop((leaving, polled));
    }
    let sequence = wal.append(payload(1, 900)).await.unwrap().sequence;
    assert_eq!(sequence, 51, "records that were queued are written");
    wal.close().await;
}

#[test]
fn sizes_that_cannot_work_are_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for options in [
        Options {
            segment_size: 1000,
            ..small()
        },
        Options {
            segment_size: 1 << 32,
            ..small()
        },
        Options {
            limit: 1,
            ..small()
        },
        Options {
            log_id: Some(String::new()),
            ..small()
        },
    ] {
        let opened = Wal::open(FileSystem::lock(directory.path()).unwrap(), options);
        assert!(matches!(opened, Err(OpenError::Options { .. })));
    }
}
