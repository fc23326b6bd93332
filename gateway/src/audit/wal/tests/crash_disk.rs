//! A disk in memory that keeps exactly what was synced, and of the rest what it likes.

mod changes;
mod faults;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use self::changes::{Change, Inode, NameChange};
pub(super) use self::faults::Faults;
use super::random::Random;
use crate::audit::wal::storage::{File, Storage};

#[derive(Clone)]
pub(super) struct CrashDisk(Arc<Mutex<Disk>>);

#[derive(Clone)]
struct Disk {
    random: Random,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    calls: u64,
    dead: bool,
    faults: Faults,
}

impl Disk {
    /// Whether this call works; an `Err` has been counted.
    fn call(&mut self, changes: bool) -> io::Result<()> {
        self.calls += 1;
        self.dead |= self.faults.die_at.is_some_and(|call| self.calls >= call);
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.faults.check(self.calls, changes, &mut self.random)
    }

    /// A call that failed may have had its effect.
    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let outcome = self.call(true);
        if outcome.is_ok() || !self.dead && self.random.below(2) == 0 {
            change.clone().apply(&mut self.names);
            self.unsynced_names.push(change);
        }
        outcome
    }

    fn sync_some_names(&mut self) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.random.below(2) == 0 {
                change.apply(&mut self.durable_names);
            } else {
                self.unsynced_names.push(change);
            }
        }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl CrashDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            random: Random::new(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            calls: 0,
            dead: false,
            faults: Faults::default(),
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// A copy with another fate ahead.
    pub(super) fn fork(&self, seed: u64) -> Self {
        let mut disk = self.disk().clone();
        disk.random = Random::new(seed);
        Self(Arc::new(Mutex::new(disk)))
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.disk().faults = faults;
    }

    pub(super) fn calls(&self) -> u64 {
        self.disk().calls
    }

    pub(super) fn is_dead(&self) -> bool {
        self.disk().dead
    }

    /// The process is gone, the page cache is not.
    pub(super) fn kill_process(&self) {
        let mut disk = self.disk();
        disk.dead = false;
        disk.faults = Faults::default();
    }

    /// The power is gone.
    pub(super) fn cut_power(&self) {
        self.kill_process();
        let mut disk = self.disk();
        let Disk {
            random,
            files,
            durable_names,
            unsynced_names,
            ..
        } = &mut *disk;
        for file in files {
            file.settle(random);
            file.cache.clone_from(&file.durable);
        }
        for change in std::mem::take(unsynced_names) {
            if random.below(2) == 0 {
                change.apply(durable_names);
            }
        }
        disk.names = disk.durable_names.clone();
    }

    /// Names and contents as a process sees them.
    pub(super) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        disk.names
            .iter()
            .map(|(name, file)| (name.clone(), disk.files[*file].cache.clone()))
            .collect()
    }

    /// Changes one byte behind everyone's back.
    pub(super) fn damage(&self, name: &str, offset: usize, mask: u8) {
        let mut disk = self.disk();
        let file = disk.file(name).unwrap();
        disk.files[file].cache[offset] ^= mask;
    }
}

impl Storage for CrashDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.call(false)?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk();
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = disk.files.len();
        disk.files.push(Inode::default());
        disk.change_name(NameChange::Add(name.to_owned(), file))?;
        Ok(Box::new(CrashFile {
            disk: self.clone(),
            file,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk();
        disk.call(false)?;
        let file = disk.file(name)?;
        Ok(Box::new(CrashFile {
            disk: self.clone(),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.file(from)?;
        disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.file(name)?;
        disk.change_name(NameChange::Remove(name.to_owned(), file))
    }

    /// What a failed sync leaves out stays to be synced: a directory is written by whole blocks.
    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call(true).inspect_err(|_| {
            if !disk.dead {
                disk.sync_some_names();
            }
        })?;
        disk.unsynced_names.clear();
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

struct CrashFile {
    disk: CrashDisk,
    file: usize,
}

impl File for CrashFile {
    fn length(&self) -> io::Result<u64> {
        let mut disk = self.disk.disk();
        disk.call(false)?;
        Ok(disk.files[self.file].cache.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.call(true)?;
        disk.files[self.file].change(Change::Length(length as usize));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        disk.call(false)?;
        let content = &disk.files[self.file].cache;
        let start = (offset as usize).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    /// A failed write may have reached the cache in part, and so may one in which the process dies.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let was_dead = disk.dead;
        disk.call(true).inspect_err(|_| {
            if !was_dead {
                let kept = disk.random.below(bytes.len() as u64 + 1) as usize;
                disk.write(self.file, offset as usize, &bytes[..kept]);
            }
        })?;
        let grows =
            (offset as usize + bytes.len()).saturating_sub(disk.files[self.file].cache.len());
        let held: usize = disk
            .names
            .values()
            .map(|file| disk.files[*file].cache.len())
            .sum();
        if grows > 0 && disk.faults.space.is_some_and(|space| held + grows > space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.write(self.file, offset as usize, bytes);
        Ok(())
    }

    /// After a failed sync the changes are in the cache, clean: the next sync does not write them.
    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let outcome = disk.call(true);
        let Disk {
            random,
            files,
            dead,
            ..
        } = &mut *disk;
        match &outcome {
            Ok(()) => files[self.file].sync(),
            Err(_) if !*dead => files[self.file].settle(random),
            Err(_) => {}
        }
        outcome
    }
}

impl Disk {
    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.files[file].change(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }
}
