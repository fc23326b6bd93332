//! Sealed files in a local directory: `v=1/cluster=<c>/date=YYYY-MM-DD/hour=HH/<log>-<first>-<last>.parquet`.
//!
//! A file appears whole or not at all, is on disk before its records leave the log, and is never replaced.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};

use crate::audit::{canonical, parquet::Range};

pub mod listing;

/// Where one gateway puts its files.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    cluster: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} (SHA-256 {stored}) is not the file of the same records that was to be written (SHA-256 {offered}); \
         neither is lost: find out who wrote it, then move it out of the store",
        path.display()
    )]
    Clash {
        path: PathBuf,
        stored: String,
        offered: String,
    },
}

impl Store {
    /// Creates the directory where it is missing.
    pub fn open(root: &Path, cluster: &str) -> Result<Self, StoreError> {
        let store = Self {
            root: root.to_owned(),
            cluster: cluster.to_owned(),
        };
        make_directory(root)?;
        sync_directory(root)?;
        root.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(Ok(()), sync_directory)?;
        Ok(store)
    }

    /// Makes a file durable. Its directory is named for the append time of its first record.
    pub fn put(
        &self,
        range: &Range,
        first_appended: Timestamp,
        bytes: &[u8],
    ) -> Result<PathBuf, StoreError> {
        let directory = self.partition(first_appended);
        make_directory(&directory)?;
        let path = directory.join(file_name(range));
        let temporary = directory.join(format!(".{}.tmp", file_name(range)));
        write_synced(&temporary, bytes)?;
        create(&temporary, &path, bytes)?;
        self.sync_directories(&directory)?;
        fs::remove_file(&temporary).map_err(io_error("remove", &temporary))?;
        Ok(path)
    }

    fn partition(&self, appended: Timestamp) -> PathBuf {
        let hour = appended.to_zoned(TimeZone::UTC);
        self.root
            .join("v=1")
            .join(format!("cluster={}", self.cluster))
            .join(format!("date={}", hour.date()))
            .join(format!("hour={:02}", hour.hour()))
    }

    /// Also of directories that were there before: whoever created them may not have lived to sync them.
    fn sync_directories(&self, leaf: &Path) -> Result<(), StoreError> {
        let mut inside = leaf
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.root));
        inside.try_for_each(sync_directory)
    }
}

/// For its owner, and for a group that reads the evidence.
fn make_directory(directory: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory);
    made.map_err(io_error("create", directory))
}

/// Sequences have 20 digits, so that names sort as the log does.
fn file_name(range: &Range) -> String {
    format!(
        "{}-{:020}-{:020}.parquet",
        range.log_id, range.first, range.last
    )
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o640);
    let mut file = options.open(path).map_err(io_error("create", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

/// A link fails where the name exists; a rename would replace what is there.
fn create(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => same_file(path, bytes),
        linked => linked.map_err(io_error("create", path)),
    }
}

fn same_file(path: &Path, offered: &[u8]) -> Result<(), StoreError> {
    let stored = fs::read(path).map_err(io_error("read", path))?;
    let (stored, offered) = (canonical::digest(&stored), canonical::digest(offered));
    if stored != offered {
        return Err(StoreError::Clash {
            path: path.to_owned(),
            stored: hex(&stored),
            offered: hex(&offered),
        });
    }
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", path))
}

fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(io_error("sync", directory))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
