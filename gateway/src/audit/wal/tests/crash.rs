//! Thousands of crashes, each at some call, with some of what was not synced.

use std::sync::Arc;

use super::{
    crash_disk::{CrashDisk, Faults},
    model::Model,
    outcome, payload,
    random::Random,
    seeds, small,
};
use crate::audit::wal::{Options, Recovery, error::OpenError, writer::Writer};

/// Forks of each crash, beside the one that the run goes on with.
const FORKS: u64 = 3;

struct Run {
    seed: u64,
    random: Random,
    disk: CrashDisk,
    model: Model,
    options: Options,
    next_id: u64,
    now: u64,
    images: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let limit = (64 + 16 * random.below(8)) << 10;
        Self {
            seed,
            disk: CrashDisk::new(seed ^ 0x5a5a),
            model: Model::new(seed),
            options: Options { limit, ..small() },
            next_id: 0,
            now: 1_000_000,
            images: 0,
            random,
        }
    }

    /// One process: recovers, works, ends in one of all possible ways.
    fn life(&mut self) {
        let per_mille = if self.random.below(2) == 0 {
            0
        } else {
            self.random.below(150)
        };
        let die_at = (self.random.below(4) > 0).then(|| self.disk.calls() + self.random.below(250));
        let faults = Faults {
            die_at,
            per_mille,
            ..Faults::default()
        };
        self.disk.set_faults(faults.clone());
        if let Ok((mut writer, _)) = self.open(&self.disk)
            && !self.disk.is_dead()
        {
            self.disk.set_faults(Faults::default());
            self.model.check_recovered(&self.disk, &writer);
            self.disk.set_faults(faults);
            for _ in 0..5 + self.random.below(40) {
                self.step(&mut writer);
            }
            if !self.disk.is_dead() {
                self.disk.set_faults(Faults::default());
                self.model.check_live(&self.disk, &writer);
            }
            self.disk.set_faults(Faults {
                die_at,
                ..Faults::default()
            });
            if self.random.below(4) == 0 {
                writer.close();
            }
        }
        self.crash();
    }

    fn open(&self, disk: &CrashDisk) -> Result<(Writer, Recovery), OpenError> {
        let opened = Writer::open(Arc::new(disk.clone()), self.options.clone(), self.now);
        if let Err(damage) = &opened
            && !matches!(damage, OpenError::Io { .. })
        {
            panic!(
                "seed {}: a crash is taken for damage: {damage:?}",
                self.seed
            );
        }
        opened
    }

    fn step(&mut self, writer: &mut Writer) {
        self.now = self.now + self.random.below(1000) - 100; // also steps back
        match self.random.below(12) {
            0 => self.model.cut(writer.cut(self.now)),
            1 | 2 => self.release(writer),
            3 => writer.prepare(),
            _ => self.append(writer),
        }
    }

    /// Frames are multiples of 1 KiB, so that those of another generation are where new ones end.
    fn append(&mut self, writer: &mut Writer) {
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(4) {
            self.next_id += 1;
            let record = if self.next_id.is_multiple_of(2) {
                outcome
            } else {
                payload
            };
            let length = 1024 * (1 + self.random.below(3)) as usize - 42;
            batch.push(record(self.next_id, length));
        }
        let outcomes = writer.append(&batch, self.now);
        assert_eq!(outcomes.len(), batch.len(), "seed {}", self.seed);
        for (payload, outcome) in batch.iter().zip(&outcomes) {
            self.model.appended(payload, outcome);
        }
    }

    fn release(&mut self, writer: &mut Writer) {
        self.model.cut(writer.cut(self.now));
        let Some(cut) = self.model.oldest_cut() else {
            return;
        };
        self.model.releasing(cut.last);
        if writer.release(cut.last, self.now).is_ok() {
            self.model.released(cut.last);
        }
    }

    /// Ends the process, mostly together with the machine, and looks at several outcomes.
    fn crash(&mut self) {
        if self.random.below(4) == 0 {
            self.disk.kill_process();
            return;
        }
        for fork in 0..FORKS {
            let disk = self
                .disk
                .fork(self.seed.wrapping_mul(31) ^ self.images ^ fork << 32);
            disk.cut_power();
            self.check_image(&disk);
        }
        self.disk.cut_power();
    }

    /// Recovery finds what it must, and after a crash of its own finds the same again.
    fn check_image(&mut self, disk: &CrashDisk) {
        let mut model = self.model.clone();
        disk.set_faults(Faults {
            die_at: Some(disk.calls() + self.random.below(60)),
            ..Faults::default()
        });
        let opened = self.open(disk);
        disk.kill_process();
        if let Ok((writer, _)) = opened {
            model.check_recovered(disk, &writer);
        }
        disk.cut_power();
        let (writer, _) = self
            .open(disk)
            .unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        model.check_recovered(disk, &writer);
        self.images += 2;
    }
}

/// Returns how many crash images were looked at.
fn run(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    for _ in 0..2 + run.random.below(5) {
        run.life();
    }
    run.images
}

#[test]
fn acknowledged_is_recovered_and_recovered_was_written() {
    let images: u64 = seeds(1500).map(run).sum();
    println!("{images} crash images");
}

/// The first process dies somewhere in a release, the next one in its first append, and then the
/// power fails: a renamed segment that is written again must not come back under its old name.
#[test]
fn a_death_in_a_release_and_another_in_the_next_append_lose_nothing() {
    for first in 1..12 {
        for second in 1..16 {
            for seed in 0..6 {
                die_twice(first, second, seed);
            }
        }
    }
}

fn die_twice(first: u64, second: u64, seed: u64) {
    let disk = CrashDisk::new(seed);
    let open = || Writer::open(Arc::new(disk.clone()), small(), 1);
    let die_in = |calls: u64| {
        let die_at = Some(disk.calls() + calls);
        disk.set_faults(Faults {
            die_at,
            ..Faults::default()
        });
    };
    let mut writer = open().unwrap().0;
    let batch: Vec<_> = (0..25).map(|id| payload(id, 1000)).collect();
    writer.append(&batch, 1);
    writer.cut(1).unwrap();
    die_in(first);
    drop(writer.release(25, 1));
    disk.kill_process();

    let mut writer = open().unwrap().0;
    die_in(second);
    let appended = writer.append(&batch[..1], 1).remove(0);
    disk.cut_power();
    let recovered = open()
        .unwrap_or_else(|error| panic!("{first}, {second}, {seed}: {error:?}"))
        .1;
    let acknowledged = 25 + u64::from(appended.is_ok());
    assert!(
        recovered.last_sequence >= acknowledged,
        "{first}, {second}, {seed}"
    );
}
