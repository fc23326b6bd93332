//! Damage is told from a crash.

use std::sync::Arc;

use super::{crash_disk::CrashDisk, payload, small, stored};
use crate::audit::wal::{
    Cut, Recovery,
    error::{OpenError, ReadError},
    frame::{self, SEAL_LENGTH},
    reader::Range,
    segment::{HEADER_LENGTH, Segment},
    storage::Storage,
    writer::Writer,
};

const RECORDS: u64 = 30;

fn open(disk: &CrashDisk) -> Result<(Writer, Recovery), OpenError> {
    Writer::open(Arc::new(disk.clone()), small(), 1)
}

/// A log of three segments, each record a commit of its own, with a cut in the middle.
fn written(disk: &CrashDisk) -> Writer {
    let mut writer = open(disk).unwrap().0;
    for id in 1..=RECORDS {
        writer.append(&[payload(id, 1000)], 1).remove(0).unwrap();
        if id == RECORDS / 2 {
            writer.cut(1).unwrap();
        }
    }
    assert_eq!(writer.segments().len(), 3);
    writer
}

/// The same log after a clean shutdown; its segments, oldest first.
fn closed(disk: &CrashDisk) -> Vec<Segment> {
    let writer = written(disk);
    let segments = writer.segments();
    writer.close();
    segments
}

fn is_damage(disk: &CrashDisk) -> bool {
    matches!(
        open(disk),
        Err(OpenError::Corrupt(_) | OpenError::UnreadableHeader { .. })
    )
}

/// What opening says after one flipped bit in each of some places.
fn flips(
    disk: &CrashDisk,
    segment: Segment,
    places: std::ops::Range<u64>,
) -> impl Iterator<Item = (u64, CrashDisk)> {
    places.step_by(3).map(move |place| {
        let damaged = disk.fork(place);
        damaged.damage(&segment.name(), place as usize, 1 << (place % 8));
        (place, damaged)
    })
}

#[test]
fn a_flipped_bit_after_a_clean_shutdown_is_damage_wherever_it_is() {
    let disk = CrashDisk::new(0);
    for segment in closed(&disk) {
        for (place, damaged) in flips(&disk, segment, 0..segment.end) {
            assert!(is_damage(&damaged), "{} at {place}", segment.name());
        }
    }
}

#[test]
fn a_damaged_trailer_costs_no_record() {
    let disk = CrashDisk::new(0);
    for segment in closed(&disk) {
        for (place, damaged) in flips(&disk, segment, segment.end..segment.end + SEAL_LENGTH) {
            let (_, recovery) = open(&damaged).unwrap();
            assert_eq!(
                recovery.last_sequence,
                RECORDS,
                "{} at {place}",
                segment.name()
            );
        }
    }
}

#[test]
fn after_a_crash_damage_before_the_last_commit_is_found() {
    let disk = CrashDisk::new(0);
    let writer = written(&disk);
    let newest = *writer.segments().last().unwrap();
    drop(writer);
    disk.cut_power();
    let length = stored(&payload(RECORDS, 1000), RECORDS).len() as u64;
    let last_commit = newest.end - frame::padded(length);
    for (place, damaged) in flips(&disk, newest, HEADER_LENGTH..last_commit) {
        assert!(is_damage(&damaged), "at {place}");
    }
    let (_, damaged) = flips(&disk, newest, last_commit..newest.end)
        .next()
        .unwrap();
    assert_eq!(
        open(&damaged).unwrap().1.last_sequence,
        RECORDS - 1,
        "nothing proves that it was durable"
    );
}

#[test]
fn damage_names_the_first_record_that_is_missing() {
    let disk = CrashDisk::new(0);
    let second = closed(&disk)[1];
    disk.damage(&second.name(), HEADER_LENGTH as usize + 20, 1);
    let Err(OpenError::Corrupt(corruption)) = open(&disk) else {
        panic!("damage is not found")
    };
    assert_eq!(
        (corruption.segment, corruption.offset),
        (second.name(), HEADER_LENGTH)
    );
    assert_eq!(
        (corruption.first_missing, corruption.last_missing),
        (second.first, second.last)
    );
}

#[test]
fn a_missing_segment_is_damage_unless_it_was_released() {
    for missing in 0..2 {
        let disk = CrashDisk::new(0);
        let segments = closed(&disk);
        disk.remove(&segments[missing].name()).unwrap();
        assert!(is_damage(&disk), "segment {missing}");
    }
    let disk = CrashDisk::new(0);
    let mut writer = written(&disk);
    let oldest = writer.segments()[0].name();
    writer.release(RECORDS / 2, 1).unwrap();
    assert!(
        !disk.contents().contains_key(&oldest),
        "the first segment holds nothing unreleased"
    );
    writer.close();
    assert_eq!(open(&disk).unwrap().1.last_sequence, RECORDS);
}

#[test]
fn damage_is_not_repaired_over() {
    let disk = CrashDisk::new(0);
    let newest = closed(&disk)[2].name();
    disk.damage(&newest, HEADER_LENGTH as usize + 50, 1);
    let before = disk.contents();
    assert!(is_damage(&disk));
    assert!(
        disk.contents() == before,
        "opening has changed the evidence"
    );
}

#[test]
fn a_reader_names_damage_once_and_ends() {
    let disk = CrashDisk::new(0);
    let writer = written(&disk);
    let second = writer.segments()[1].name();
    disk.damage(&second, HEADER_LENGTH as usize + 50, 1);
    let mut range = Range::new(
        Arc::new(disk),
        writer.segments(),
        Cut {
            first: 1,
            last: RECORDS,
        },
    )
    .unwrap();
    let whole = range.by_ref().take_while(Result::is_ok).count() as u64;
    assert_eq!(whole, writer.segments()[0].last);
    assert!(range.next().is_none());
}

#[test]
fn a_released_range_is_said_to_be_released() {
    let disk = CrashDisk::new(0);
    let mut writer = written(&disk);
    let (segments, cut) = (
        writer.segments(),
        Cut {
            first: 1,
            last: RECORDS / 2,
        },
    );
    writer.release(cut.last, 1).unwrap();
    let storage = Arc::new(disk);
    assert!(matches!(
        Range::new(storage, writer.segments(), cut),
        Err(ReadError::Released { sequence: 1 })
    ));
    assert_eq!(segments.len(), 3);
}

#[test]
fn another_logs_segment_is_refused() {
    let disk = CrashDisk::new(0);
    let oldest = closed(&disk)[0].name();
    let other = CrashDisk::new(1);
    Writer::open(
        Arc::new(other.clone()),
        crate::audit::wal::Options {
            log_id: Some("other".into()),
            ..small()
        },
        1,
    )
    .unwrap();
    let file = disk.open(&oldest).unwrap();
    file.write_at(&other.contents()[&oldest], 0).unwrap();
    assert!(matches!(open(&disk), Err(OpenError::OtherLog { .. })));
}
