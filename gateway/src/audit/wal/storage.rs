//! What the log asks of a disk, and the disk that is a directory of a real file system.
//!
//! The seam is this small so that the tests can put a disk behind it which forgets whatever was
//! not synced. Calls block: only the log's own thread and readers of evidence make them.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::error::OpenError;

/// One flat directory of files.
pub trait Storage: Send + Sync + 'static {
    /// Names of the files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist yet.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Gives a file a new name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes durable what `create`, `rename` and `remove` did.
    fn sync_directory(&self) -> io::Result<()>;
}

/// One file, by position.
pub trait File: Send {
    fn length(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Reads until the buffer is full or the file ends; returns how much.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes durable what was written, and the length.
    fn sync_data(&self) -> io::Result<()>;
}

/// A directory on a real file system.
#[derive(Debug)]
pub struct FileSystem {
    directory: PathBuf,
    /// Also says that we may write. The kernel gives the lock back when this closes, also after SIGKILL.
    lock: Option<fs::File>,
}

/// Beside the segments, so that it moves with them.
const LOCK: &str = "lock";

impl FileSystem {
    /// Makes the directory if it is missing and takes it for this process alone.
    pub fn lock(directory: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: directory.display().to_string(),
            source,
        };
        make_directory(directory).map_err(io)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                directory: directory.to_owned(),
                lock: Some(lock),
            }),
            Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked {
                directory: directory.to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// For readers in another process: takes no lock and must not be written through.
    pub(super) fn unlocked(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            lock: None,
        }
    }
}

/// Each new directory's entry is synced in its parent: otherwise a power cut takes the whole log.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

impl Storage for FileSystem {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(options.open(self.directory.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let writable = self.lock.is_some();
        let file = fs::OpenOptions::new()
            .read(true)
            .write(writable)
            .open(self.directory.join(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}
