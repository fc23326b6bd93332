//! Files in a local directory. A name appears once its bytes are on disk.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::audit::canonical;

#[derive(Clone, Debug)]
pub(in crate::audit) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Creates the directory where it is missing.
    pub(in crate::audit) fn open(root: &Path) -> Result<Self, StoreError> {
        make_directory(root)?;
        sync_directory(root)?;
        root.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(Ok(()), sync_directory)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Makes a file durable. Blocks.
    pub(in crate::audit) fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        let directory = path.parent().expect("a name is below the root");
        make_directory(directory)?;
        let temporary = temporary(&path);
        write_synced(&temporary, bytes)?;
        create(&temporary, &path, bytes)?;
        self.sync_directories(directory)?;
        fs::remove_file(&temporary).map_err(io_error("remove", &temporary))?;
        Ok(path)
    }

    /// Also of directories that were there before: whoever created them may not have lived to sync them.
    fn sync_directories(&self, leaf: &Path) -> Result<(), StoreError> {
        let mut inside = leaf
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.root));
        inside.try_for_each(sync_directory)
    }
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// For its owner, and for a group that reads the evidence.
fn make_directory(directory: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory);
    made.map_err(io_error("create", directory))
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
        let location = path.display().to_string();
        return Err(StoreError::clash(location, &stored, &offered));
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

#[cfg(test)]
mod tests;
