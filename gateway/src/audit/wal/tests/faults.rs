//! Disks that say no: at every single call, for ever, for lack of space, or because of the limit.

use std::{io::ErrorKind, sync::Arc};

use super::{
    crash_disk::{CrashDisk, Faults},
    model::Model,
    outcome, payload, small,
};
use crate::audit::wal::{Appended, Payload, error::NotRecorded, segment, writer::Writer};

fn open(disk: &CrashDisk) -> Writer {
    Writer::open(Arc::new(disk.clone()), small(), 1).unwrap().0
}

fn append_one(writer: &mut Writer, id: u64) -> Result<Appended, NotRecorded> {
    writer.append(&[payload(id, 1000)], 1).remove(0)
}

/// Appends over several segments, with a cut and a release between.
fn work(writer: &mut Writer, model: &mut Model) {
    for round in 0..12 {
        let batch: Vec<_> = (0..5)
            .map(|index| payload(10 * round + index, 1000))
            .collect();
        for (payload, outcome) in batch.iter().zip(writer.append(&batch, round)) {
            model.appended(payload, &outcome);
        }
        writer.prepare();
        if round % 3 == 2 {
            cut_and_release(writer, model);
        }
    }
}

fn cut_and_release(writer: &mut Writer, model: &mut Model) {
    model.cut(writer.cut(1));
    let Some(cut) = model.oldest_cut() else {
        return;
    };
    model.releasing(cut.last);
    if writer.release(cut.last, 1).is_ok() {
        model.released(cut.last);
    }
}

/// Runs the work with `calls` failing calls from the `first` on; false if it ends before.
fn survives(first: u64, calls: u64, kind: ErrorKind) -> bool {
    let disk = CrashDisk::new(first);
    let mut model = Model::new(first);
    disk.set_faults(Faults {
        fail: Some((first..first + calls, kind)),
        ..Faults::default()
    });
    let opened = Writer::open(Arc::new(disk.clone()), small(), 1);
    let mut writer = opened.map_or_else(|_| open_after_fault(&disk), |(writer, _)| writer);
    work(&mut writer, &mut model);
    let reached = disk.calls() >= first;

    disk.set_faults(Faults::default());
    let last = payload(999, 100);
    let outcome = writer.append(std::slice::from_ref(&last), 1).remove(0);
    assert!(
        outcome.is_ok(),
        "call {first}: the log works again when the disk does: {outcome:?}"
    );
    model.appended(&last, &outcome);
    model.check_live(&disk, &writer);
    disk.cut_power();
    model.check_recovered(&disk, &open(&disk));
    reached
}

fn open_after_fault(disk: &CrashDisk) -> Writer {
    disk.set_faults(Faults::default());
    open(disk)
}

#[test]
fn an_error_at_any_call_refuses_records_and_loses_none() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for calls in [1, 7] {
            let reached = (1..)
                .take_while(|first| survives(*first, calls, kind))
                .count();
            assert!(reached > 100, "the work makes {reached} calls");
        }
    }
}

#[test]
fn a_failed_sync_refuses_its_commit_and_the_next_record_takes_its_sequence() {
    let disk = CrashDisk::new(0);
    let mut writer = open(&disk);
    assert_eq!(append_one(&mut writer, 1).unwrap().sequence, 1);
    // The write is the next call, the sync the one after it.
    let sync = disk.calls() + 2;
    disk.set_faults(Faults {
        fail: Some((sync..sync + 1, ErrorKind::Other)),
        ..Faults::default()
    });
    let refused = writer.append(&[payload(2, 1000), payload(3, 1000)], 1);
    assert!(
        refused
            .iter()
            .all(|outcome| matches!(outcome, Err(NotRecorded::SyncFailed(_)))),
        "{refused:?}"
    );

    let poisoned = writer.segments()[0];
    assert_eq!(append_one(&mut writer, 4).unwrap().sequence, 2);
    let segments = writer.segments();
    assert_eq!(
        segments[0], poisoned,
        "a poisoned segment is not written again"
    );
    assert_eq!((segments[1].first, segments[1].last), (2, 2));
}

#[test]
fn nothing_is_acknowledged_while_every_sync_fails_and_the_disk_does_not_fill_up() {
    let disk = CrashDisk::new(0);
    let mut writer = open(&disk);
    append_one(&mut writer, 1).unwrap();
    disk.set_faults(Faults {
        per_mille: 1000,
        ..Faults::default()
    });
    for id in 0..200 {
        append_one(&mut writer, id).unwrap_err();
    }
    disk.set_faults(Faults::default());
    assert_eq!(append_one(&mut writer, 2).unwrap().sequence, 2);
    let bytes: usize = disk.contents().values().map(Vec::len).sum();
    assert!(bytes <= 4 * (16 << 10), "{bytes} bytes after 200 failures");
}

/// A segment that never confirmed a frame leaves no segment behind, but frames, in a spare.
#[test]
fn a_generation_is_not_used_again_after_a_restart() {
    for seed in 0..20 {
        let disk = CrashDisk::new(seed);
        let mut writer = open(&disk);
        append_one(&mut writer, 1).unwrap();
        disk.set_faults(Faults {
            per_mille: 500,
            ..Faults::default()
        });
        for id in 0..50 {
            drop(append_one(&mut writer, id));
        }
        drop(writer);
        disk.cut_power();

        let numbers = |name: &String| {
            segment::number(name, ".wal").or_else(|| segment::number(name, ".spare"))
        };
        let highest = disk.contents().keys().filter_map(numbers).max().unwrap();
        let mut writer = open(&disk);
        append_one(&mut writer, 2).unwrap();
        let generation = writer.segments().last().unwrap().generation;
        assert!(
            generation > highest,
            "seed {seed}: {generation} after {highest}"
        );
    }
}

#[test]
fn a_full_disk_still_takes_cuts_and_a_release_makes_room() {
    let disk = CrashDisk::new(0);
    disk.set_faults(Faults {
        space: Some(3 * (16 << 10)),
        ..Faults::default()
    });
    let mut writer = open(&disk);
    let refused = (0..100).find_map(|id| append_one(&mut writer, id).err());
    assert!(
        matches!(&refused, Some(NotRecorded::Io(error)) if error.kind() == ErrorKind::StorageFull),
        "{refused:?}"
    );
    // Records of 80 bytes, until not even one of those fits.
    while writer.append(&[payload(1, 0)], 1).remove(0).is_ok() {}
    let cut = writer.cut(1).unwrap().expect("records were appended");
    writer.release(cut.last, 1).unwrap();
    assert_eq!(append_one(&mut writer, 101).unwrap().sequence, cut.last + 1);
}

#[test]
fn a_log_at_its_limit_refuses_records_takes_marks_and_goes_on_after_a_release() {
    let disk = CrashDisk::new(0);
    let mut writer = open(&disk);
    for round in 0..3 {
        let refused = (0..1000).find_map(|id| append_one(&mut writer, id).err());
        let Some(NotRecorded::Full { used, limit }) = refused else {
            panic!("round {round}: {refused:?}")
        };
        assert!(
            used <= limit / 100 * 95 && used > limit / 100 * 85,
            "{used} of {limit}"
        );
        // Also a restart, which needs a new segment for its first mark, is no dead end.
        disk.cut_power();
        writer = open(&disk);
        let cut = writer.cut(1).unwrap().expect("records were appended");
        writer.release(cut.last, 1).unwrap();
    }
    assert!(append_one(&mut writer, 0).is_ok());
}

#[test]
fn what_has_begun_finds_room_for_its_end_where_nothing_may_begin() {
    let disk = CrashDisk::new(0);
    let mut writer = open(&disk);
    let full = |writer: &mut Writer, record: fn(u64, usize) -> Payload| {
        let refused = (0..1000)
            .find_map(|id| writer.append(&[record(id, 1000)], 1).remove(0).err())
            .expect("the log has a limit");
        let NotRecorded::Full { used, limit } = refused else {
            panic!("{refused:?}")
        };
        100 * used / limit
    };
    assert!(full(&mut writer, payload) < 95);
    let mixed = writer.append(&[payload(1, 1000), outcome(2, 1000), payload(3, 1000)], 1);
    assert!(
        matches!(
            mixed[..],
            [
                Err(NotRecorded::Full { .. }),
                Ok(_),
                Err(NotRecorded::Full { .. })
            ]
        ),
        "{mixed:?}"
    );
    assert!((97..100).contains(&full(&mut writer, outcome)));
    let cut = writer.cut(1).unwrap().expect("records were appended");
    writer.release(cut.last, 1).unwrap();
    assert!(append_one(&mut writer, 0).is_ok());
}

#[test]
fn a_record_larger_than_a_segment_is_refused_alone() {
    let mut writer = open(&CrashDisk::new(0));
    let outcomes = writer.append(&[payload(1, 10), payload(2, 16 << 10), payload(3, 10)], 1);
    assert!(
        matches!(outcomes[1], Err(NotRecorded::TooLarge { .. })),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2].as_ref().unwrap().sequence, 2);
}

#[test]
fn released_segments_are_used_again_and_few_are_kept() {
    let disk = CrashDisk::new(0);
    let (mut writer, mut model) = (open(&disk), Model::new(0));
    for _ in 0..20 {
        work(&mut writer, &mut model);
    }
    let files = disk.contents();
    assert!(files.len() <= 10, "{:?}", files.keys());
    let newest = files
        .keys()
        .filter_map(|name| segment::number(name, ".wal"))
        .max();
    assert!(newest > Some(20), "{newest:?}");
    model.check_live(&disk, &writer);
}

#[test]
fn time_does_not_step_back_with_the_clock() {
    let mut writer = open(&CrashDisk::new(0));
    let stamps: Vec<u64> = [50, 20, 60]
        .map(|now| {
            writer
                .append(&[payload(1, 10)], now)
                .remove(0)
                .unwrap()
                .appended_at_micros
        })
        .into();
    assert_eq!(stamps, [50, 50, 60]);
}
