//! What queues during one sync is committed by the next.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use super::{crash_disk::CrashDisk, payload, small};
use crate::audit::wal::{
    Wal,
    storage::{File, Storage},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Holds syncs of file contents while it is closed, and counts them.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    syncs: u64,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.syncs += 1;
        self.changed.notify_all();
        drop(
            self.changed
                .wait_while(state, |state| state.closed)
                .unwrap(),
        );
    }

    fn set_closed(&self, closed: bool) {
        self.state.lock().unwrap().closed = closed;
        self.changed.notify_all();
    }

    fn syncs(&self) -> u64 {
        self.state.lock().unwrap().syncs
    }

    /// Fails rather than hangs if the log does not sync at all.
    fn wait_for(&self, syncs: u64) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.syncs < syncs);
        assert!(!waited.unwrap().1.timed_out(), "no sync");
    }
}

struct GatedDisk(CrashDisk, Arc<Gate>);

impl GatedDisk {
    fn gated(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(GatedFile(file?, Arc::clone(&self.1))))
    }
}

impl Storage for GatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.gated(self.0.create(name))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.gated(self.0.open(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }
}

struct GatedFile(Box<dyn File>, Arc<Gate>);

impl File for GatedFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }
}

#[tokio::test]
async fn records_that_queue_during_a_sync_share_the_next_one() {
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk(CrashDisk::new(0), Arc::clone(&gate));
    let (wal, _) = Wal::open(disk, small()).unwrap();
    // Opening filled no spare yet: this commit also has the thread prepare one.
    wal.append(payload(0, 100)).await.unwrap();
    wal.cut().await.unwrap();

    let before = gate.syncs();
    gate.set_closed(true);
    let mut first = Box::pin(wal.append(payload(1, 100)));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    gate.wait_for(before + 1);
    let mut others: Vec<_> = (2..50)
        .map(|id| Box::pin(wal.append(payload(id, 100))))
        .collect();
    for append in &mut others {
        assert!(
            futures_util::poll!(append.as_mut()).is_pending(),
            "it waits for its sync"
        );
    }
    gate.set_closed(false);
    first.await.unwrap();
    for append in others {
        append.await.unwrap();
    }
    assert_eq!(
        gate.syncs(),
        before + 2,
        "one for the first record, one for all others"
    );
    wal.close().await;
}
