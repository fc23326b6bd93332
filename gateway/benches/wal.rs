//! How many records of 2 KiB become durable per second with 64 callers waiting, beside the plainest code that
//! could do it: one thread that writes 64 records and calls `fdatasync`, on the same disk, in the same run.
//!
//! The reference is measured in two ways: into a file that grows, and into one whose blocks exist and hold
//! zeros, which is what recycled segments are. The goals are half of the latter, and 16 records per
//! `fdatasync`. Time is wall time, since what is waited for is the disk.

use std::{
    fs::File as Disk,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use sallyport::audit::wal::{File, FileSystem, Headroom, Options, Payload, Storage, Wal};
use tokio::{runtime::Runtime, task::JoinSet};

use self::rounds::{Measurement, alternate, cpu_seconds};

#[path = "measure/rounds.rs"]
mod rounds;

const RECORD: usize = 2048;
const IN_FLIGHT: usize = 64;
const RECORDS: usize = 8192;

fn main() {
    // Not in /tmp, which is memory on many machines.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir_in(target).expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let syncs = Arc::new(AtomicU64::new(0));
    let log = open(&directory.path().join("log"), &syncs);

    let growing = Disk::create(directory.path().join("growing")).expect("a file");
    print(
        "wal_beside_growing_file",
        alternate(
            || per_second(|| append(&runtime, &log)),
            || {
                per_second(|| {
                    batches(|bytes, _| {
                        (&growing)
                            .write_all(bytes)
                            .and_then(|()| growing.sync_data())
                    })
                })
            },
        ),
        None,
    );
    let zeros = zeros(&directory.path().join("zeros"));
    let into_zeros = |bytes: &[u8], at| {
        zeros
            .write_all_at(bytes, at)
            .and_then(|()| zeros.sync_data())
    };
    print(
        "wal_beside_recycled_file",
        alternate(
            || per_second(|| append(&runtime, &log)),
            || per_second(|| batches(into_zeros)),
        ),
        Some(0.5),
    );
    print(
        "wal_per_cpu_second",
        alternate(
            || RECORDS as f64 / cpu_seconds(|| append(&runtime, &log)),
            || RECORDS as f64 / cpu_seconds(|| batches(into_zeros)),
        ),
        None,
    );
    print(
        "wal_records_per_fdatasync",
        alternate(|| per_sync(&runtime, &log, &syncs), || IN_FLIGHT as f64),
        Some(16.0 / IN_FLIGHT as f64),
    );
    runtime.block_on(log.close());
}

fn print(name: &str, (ours, reference): (f64, f64), goal: Option<f64>) {
    Measurement {
        name,
        ours,
        reference,
        goal,
    }
    .print();
}

fn per_second(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    RECORDS as f64 / start.elapsed().as_secs_f64()
}

fn per_sync(runtime: &Runtime, log: &Wal, syncs: &AtomicU64) -> f64 {
    let before = syncs.load(Relaxed);
    append(runtime, log);
    RECORDS as f64 / (syncs.load(Relaxed) - before) as f64
}

fn open(directory: &Path, syncs: &Arc<AtomicU64>) -> Wal {
    let storage = Counting {
        disk: FileSystem::lock(directory).expect("a directory of our own"),
        syncs: Arc::clone(syncs),
    };
    let options = Options {
        segment_size: 16 << 20,
        ..Options::default()
    };
    Wal::open(storage, options).expect("a log").0
}

/// Appends all records, and gives their segments back to be recycled.
fn append(runtime: &Runtime, log: &Wal) {
    runtime.block_on(async {
        let mut callers: JoinSet<_> = (0..IN_FLIGHT).map(|_| caller(log.clone())).collect();
        while let Some(done) = callers.join_next().await {
            done.expect("a caller ends");
        }
        let cut = log.cut().await.expect("a cut").expect("new records");
        log.release(cut.last).expect("an open log");
    });
}

async fn caller(log: Wal) {
    let half = Bytes::from_static(&[b'x'; RECORD / 2]);
    for _ in 0..RECORDS / IN_FLIGHT {
        let payload = Payload {
            before: half.clone(),
            after: half.clone(),
            headroom: Headroom::Spare,
        };
        log.append(payload).await.expect("a healthy disk");
    }
}

fn batches(mut durable: impl FnMut(&[u8], u64) -> io::Result<()>) {
    let batch = vec![b'x'; RECORD * IN_FLIGHT];
    for number in 0..RECORDS / IN_FLIGHT {
        durable(&batch, (number * batch.len()) as u64).expect("a healthy disk");
    }
}

fn zeros(path: &Path) -> Disk {
    let mut file = Disk::create(path).expect("a file");
    file.write_all(&vec![0; RECORD * RECORDS]).expect("room");
    file.sync_all().expect("a healthy disk");
    file
}

/// The disk, counting what it is asked to make durable.
struct Counting {
    disk: FileSystem,
    syncs: Arc<AtomicU64>,
}

struct CountingFile {
    file: Box<dyn File>,
    syncs: Arc<AtomicU64>,
}

impl Counting {
    fn counting(&self, file: Box<dyn File>) -> Box<dyn File> {
        let syncs = Arc::clone(&self.syncs);
        Box::new(CountingFile { file, syncs })
    }
}

impl Storage for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.disk.create(name).map(|file| self.counting(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.disk.open(name).map(|file| self.counting(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

impl File for CountingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Relaxed);
        self.file.sync_data()
    }
}
