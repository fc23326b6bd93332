//! Any bytes as segments: reading the log ends, without a panic, and so does recovering it.
#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::{Corpus, fuzz_target};
use sallyport::audit::wal::{FileSystem, Headroom, Options, Payload, Wal, scan};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// A log with records in it, so that most of the fuzzer's bytes are behind something that is valid.
    static TEMPLATE: Vec<(String, Vec<u8>)> = template();
}

const SEGMENT: u64 = 16 << 10;

// The first byte is the segment, the next two the place, the rest are the bytes there. An input that begins
// with 255 replaces the file.
fuzz_target!(|input: &[u8]| -> Corpus {
    let [segment, high, low, bytes @ ..] = input else {
        return Corpus::Reject;
    };
    let directory = memory_directory();
    TEMPLATE.with(|files| {
        for (index, (name, content)) in files.iter().enumerate() {
            let chosen = usize::from(*segment) % files.len() == index;
            let place = usize::from(u16::from_be_bytes([*high, *low]));
            let content = match chosen {
                true if *segment == 255 => bytes.to_vec(),
                true => overwritten(content, place, bytes),
                false => content.clone(),
            };
            fs::write(directory.path().join(name), content).expect("a directory of our own");
        }
    });
    read(directory.path());
    recover(directory.path());
    Corpus::Keep
});

fn overwritten(content: &[u8], place: usize, bytes: &[u8]) -> Vec<u8> {
    let place = place % content.len().max(1);
    let mut content = content.to_vec();
    let end = content.len().max(place + bytes.len());
    content.resize(end, 0);
    content[place..place + bytes.len()].copy_from_slice(bytes);
    content
}

/// Sequences rise, so an endless log would be found by its own numbers.
fn read(directory: &Path) {
    let Ok(records) = scan(directory) else { return };
    let mut last = 0;
    for frame in records {
        let Ok(frame) = frame else { return };
        assert!(frame.sequence > last, "a sequence comes again");
        last = frame.sequence;
    }
}

fn recover(directory: &Path) {
    let disk = FileSystem::lock(directory).expect("nobody else");
    if let Ok((log, recovery)) = Wal::open(disk, options()) {
        assert_eq!(log.usage().last_sequence, recovery.last_sequence);
        for cut in log.pending_cuts() {
            log.range(cut).into_iter().flatten().for_each(drop);
        }
        runtime().block_on(log.close());
    }
}

/// Two segments and a cut.
fn template() -> Vec<(String, Vec<u8>)> {
    let directory = memory_directory();
    let disk = FileSystem::lock(directory.path()).expect("nobody else");
    let (log, _) = Wal::open(disk, options()).expect("an empty directory");
    runtime().block_on(async {
        for number in 0..12 {
            let payload = Payload {
                before: vec![b'a' + number; 900].into(),
                after: vec![b'z'; usize::from(number) * 50].into(),
                headroom: Headroom::Spare,
            };
            log.append(payload).await.expect("room");
            if number == 5 {
                log.cut().await.expect("room");
            }
        }
        log.close().await;
    });
    let mut files: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory of our own")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a name of ours");
            (name, fs::read(entry.path()).expect("a file of ours"))
        })
        .filter(|(name, _)| name.ends_with(".wal"))
        .collect();
    files.sort();
    files
}

fn options() -> Options {
    Options {
        segment_size: SEGMENT,
        limit: 64 * SEGMENT,
        log_id: Some("log".to_owned()),
        ..Options::default()
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

/// Nothing here is about durability, and a disk would be a hundred times slower.
fn memory_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .expect("a directory")
}
