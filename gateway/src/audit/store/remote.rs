//! A bucket for readers that block: objects are read in blocks, of which some are kept.
//!
//! The Parquet reader asks for the end of a file and then, column by column, for parts of those row groups
//! that matter. Most files are one or two blocks; of a large one only the blocks that are asked for are
//! fetched, and what is kept has a limit.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
};

use bytes::{Bytes, BytesMut};
use object_store::ObjectMeta;
use tokio::runtime::Runtime;

use super::{
    Bucket, StoreError,
    listing::{self, Location, StoredFile},
};
use crate::config;

const BLOCK: u64 = 4 << 20;
/// 64 MiB: as much as the columns of one row group may lie apart in a file of ours.
const BLOCKS_KEPT: usize = 16;

/// A bucket, and a thread that talks to it.
#[derive(Clone)]
pub struct Remote {
    bucket: Bucket,
    runtime: Arc<Runtime>,
}

impl Remote {
    pub(super) fn open(config: &config::S3) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|source| StoreError::Io {
                action: "start a thread for",
                path: config.bucket.clone().into(),
                source,
            })?;
        Ok(Self {
            bucket: Bucket::open(config)?,
            runtime: Arc::new(runtime),
        })
    }

    /// What was listed before an error is there beside it.
    pub(super) fn list(&self) -> (Vec<StoredFile>, Result<(), StoreError>) {
        let bucket = self.bucket.clone();
        let listing = async move {
            let mut files = Vec::new();
            let visit = |object: ObjectMeta| files.extend(parse(&bucket, object));
            let outcome = bucket.list(visit).await;
            (files, outcome.map_err(StoreError::from))
        };
        self.wait(listing)
            .unwrap_or_else(|error| (Vec::new(), Err(error)))
    }

    pub(super) fn open_file(&self, object: &ObjectMeta) -> RemoteFile {
        RemoteFile(Arc::new(Blocks {
            remote: self.clone(),
            object: object.clone(),
            kept: Mutex::default(),
        }))
    }

    pub(super) fn name(&self, object: &ObjectMeta) -> String {
        self.bucket.location_of(&object.location)
    }

    /// Blocks the caller, who may be a thread of another runtime.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = sync_channel(1);
        let task = self.runtime.spawn(async move {
            // The receiver waits below.
            let _received = sender.send(work.await);
        });
        receiver.recv().map_err(|_| {
            let panicked = self.runtime.block_on(task);
            StoreError::BrokenOff(panicked.expect_err("it ended without sending"))
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

fn parse(bucket: &Bucket, object: ObjectMeta) -> Option<StoredFile> {
    let name = bucket.name_of(&object.location).to_owned();
    listing::parse(name.as_ref(), Location::Object(object))
}

/// One object. Clones share what was fetched.
#[derive(Clone, Debug)]
pub struct RemoteFile(Arc<Blocks>);

#[derive(Debug)]
struct Blocks {
    remote: Remote,
    object: ObjectMeta,
    /// By number, used last at the end.
    kept: Mutex<VecDeque<(u64, Bytes)>>,
}

impl RemoteFile {
    pub(super) fn len(&self) -> u64 {
        self.0.object.size
    }

    pub(super) fn read_from(&self, start: u64) -> impl Read + use<> {
        From {
            file: self.clone(),
            at: start,
        }
    }

    pub(super) fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let first = self.rest_of_block(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut bytes = BytesMut::with_capacity(length);
        bytes.extend_from_slice(&first);
        while bytes.len() < length {
            let next = self.rest_of_block(start + bytes.len() as u64)?;
            if next.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&next[..next.len().min(length - bytes.len())]);
        }
        Ok(bytes.freeze())
    }

    /// From `start` to the end of its block; nothing at the end of the file.
    fn rest_of_block(&self, start: u64) -> io::Result<Bytes> {
        if start >= self.len() {
            return Ok(Bytes::new());
        }
        let block = self.0.block(start / BLOCK)?;
        let within = usize::try_from(start % BLOCK).expect("a block fits memory");
        if within >= block.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(block.slice(within..))
    }
}

impl Blocks {
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(kept, _)| *kept == number);
        let block = match found.and_then(|at| kept.remove(at)) {
            Some((_, block)) => block,
            None => self.fetch(number).map_err(io::Error::other)?,
        };
        if kept.len() == BLOCKS_KEPT {
            kept.pop_front();
        }
        kept.push_back((number, block.clone()));
        Ok(block)
    }

    fn fetch(&self, number: u64) -> Result<Bytes, StoreError> {
        let (bucket, object) = (self.remote.bucket.clone(), self.object.clone());
        let start = number * BLOCK;
        let end = object.size.min(start + BLOCK);
        let fetched = self
            .remote
            .wait(async move { bucket.range(&object, start..end).await })?;
        Ok(fetched?)
    }
}

struct From {
    file: RemoteFile,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.rest_of_block(self.at)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
