//! What the log asks of a disk, and the disk that is a directory of a real file system.
//!
//! The seam is this small so that the tests can put a disk behind it which forgets whatever was
//! not synced. Calls block: only the log's own thread and readers of evidence make them.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
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
    /// Makes the directory if it is missing, for its owner alone, and takes it for this process alone.
    pub fn lock(directory: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: directory.display().to_string(),
            source,
        };
        make_directory(directory, 0o700).map_err(io)?;
        warn_if_exposed(directory).map_err(io)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
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
/// What is above the log may hold the store too, which a group reads.
fn make_directory(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_directory(parent, 0o750)?;
    match fs::DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

/// A directory that was there keeps its mode: who made it may have had reasons.
fn warn_if_exposed(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.mode() & 0o7777;
    if is_exposed(mode) {
        tracing::warn!(
            directory = %directory.display(),
            mode = format_args!("{mode:04o}"),
            "others can read the directory of the write-ahead log; run `chmod 700` on it"
        );
    }
    Ok(())
}

fn is_exposed(mode: u32) -> bool {
    mode & 0o005 != 0
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_and_what_was_there_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("recording/wal");
        let storage = FileSystem::lock(&directory).unwrap();
        storage.create("segment").unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(directory.parent().unwrap()) & 0o027, 0);
        for file in [LOCK, "segment"] {
            assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
        }
        drop(storage);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        FileSystem::lock(&directory).unwrap();
        assert_eq!(mode(&directory), 0o755);
    }

    #[test]
    fn a_directory_is_exposed_if_others_can_read_or_enter_it() {
        assert!([0o755, 0o704, 0o701, 0o1777].into_iter().all(is_exposed));
        assert!(![0o700, 0o750, 0o2770].into_iter().any(is_exposed));
    }
}
