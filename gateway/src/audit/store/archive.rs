//! A store as its readers see it: files to list and to read parts of. Blocks.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
};

use ::parquet::{
    errors::Result as ParquetResult,
    file::reader::{ChunkReader, Length},
};
use bytes::Bytes;

use super::{
    StoreError,
    listing::{self, Location, StoredFile},
    remote::{Remote, RemoteFile},
};
use crate::config;

/// A store, perhaps another gateway's, or a copy of one.
#[derive(Clone, Debug)]
pub enum Archive {
    Directory(PathBuf),
    Bucket(Remote),
}

impl Archive {
    /// The store that a gateway writes.
    pub fn open(config: &config::Store) -> Result<Self, StoreError> {
        Ok(match config {
            config::Store::Directory(root) => Self::Directory(root.clone()),
            config::Store::S3(s3) => Self::Bucket(Remote::open(s3)?),
        })
    }

    /// Lists the store, the file appended last first. What cannot be listed is handed to `problem`.
    pub fn newest_first(&self, mut problem: impl FnMut(String, StoreError)) -> Vec<StoredFile> {
        let files = match self {
            Self::Directory(root) => listing::in_directory(root, &mut problem),
            Self::Bucket(remote) => {
                let (files, outcome) = remote.list();
                if let Err(error) = outcome {
                    problem(self.to_string(), error);
                }
                files
            }
        };
        listing::newest_first(files)
    }

    /// Opens a file that this archive listed.
    pub fn read(&self, file: &StoredFile) -> io::Result<Reader> {
        match (&file.location, self) {
            (Location::Path(path), _) => File::open(path).map(Reader::File),
            (Location::Object(object), Self::Bucket(remote)) => {
                Ok(Reader::Remote(remote.open_file(object)))
            }
            (Location::Object(_), Self::Directory(_)) => {
                Err(io::Error::other("this file is in a bucket"))
            }
        }
    }

    /// Where a file is, for people.
    pub fn name(&self, file: &StoredFile) -> String {
        match (&file.location, self) {
            (Location::Object(object), Self::Bucket(remote)) => remote.name(object),
            (Location::Object(object), Self::Directory(_)) => object.location.to_string(),
            (Location::Path(path), _) => path.display().to_string(),
        }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(root) => root.display().fmt(f),
            Self::Bucket(remote) => remote.fmt(f),
        }
    }
}

/// Any part of one file.
#[derive(Debug)]
pub enum Reader {
    File(File),
    Remote(RemoteFile),
}

impl Length for Reader {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Remote(file) => file.len(),
        }
    }
}

impl ChunkReader for Reader {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Remote(file) => Box::new(BufReader::new(file.read_from(start))),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Remote(file) => Ok(file.bytes(start, length)?),
        }
    }
}
