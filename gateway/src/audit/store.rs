//! Sealed files, in a local directory or a bucket: `v=1/cluster=<c>/date=YYYY-MM-DD/hour=HH/<log>-<first>-<last>.parquet`.
//!
//! A file appears whole or not at all, is durable before its records leave the log, and is never replaced:
//! where one of the same name is there, it must be the same one.

use std::path::PathBuf;

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};

pub(in crate::audit) use self::directory::Directory;
pub use self::{
    archive::{Archive, Reader},
    bucket::{Bucket, BucketError},
    remote::{Remote, RemoteFile},
};
use crate::{audit::parquet::Range, config, hex};

mod archive;
mod bucket;
mod directory;
pub mod listing;
mod remote;

/// Where one gateway puts its files.
#[derive(Clone, Debug)]
pub struct Store {
    cluster: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(Directory),
    Bucket(Bucket),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(
        "{location} (SHA-256 {stored}) is not the file of the same records that was to be written (SHA-256 {offered}); \
         neither is lost: find out who wrote it, then move it out of the store"
    )]
    Clash {
        location: String,
        stored: String,
        offered: String,
    },
    #[error("writing was broken off; it is tried again")]
    BrokenOff(#[from] tokio::task::JoinError),
}

impl Store {
    /// Creates a directory where it is missing. A bucket is not asked for anything yet.
    pub fn open(config: &config::Store, cluster: &str) -> Result<Self, StoreError> {
        let place = match config {
            config::Store::Directory(root) => Place::Directory(Directory::open(root)?),
            config::Store::S3(s3) => Place::Bucket(Bucket::open(s3)?),
        };
        Ok(Self {
            cluster: cluster.to_owned(),
            place,
        })
    }

    /// Makes a file durable, and says where it is.
    pub async fn put(
        &self,
        range: &Range,
        first_appended: Timestamp,
        bytes: Bytes,
    ) -> Result<String, StoreError> {
        let name = name(&self.cluster, range, first_appended);
        self.put_named(name, bytes).await
    }

    /// The same under a name of the caller's.
    pub(in crate::audit) async fn put_named(
        &self,
        name: String,
        bytes: Bytes,
    ) -> Result<String, StoreError> {
        match &self.place {
            Place::Directory(directory) => {
                let directory = directory.clone();
                let put = move || directory.put(&name, &bytes);
                let path = tokio::task::spawn_blocking(put).await??;
                Ok(path.display().to_string())
            }
            Place::Bucket(bucket) => bucket.put(&name, bytes).await,
        }
    }
}

impl StoreError {
    /// Whether another file would fare better.
    pub fn is_of_one_file(&self) -> bool {
        matches!(self, Self::Clash { .. })
    }

    fn clash(location: String, stored: &[u8], offered: &[u8]) -> Self {
        Self::Clash {
            location,
            stored: hex::encode(stored),
            offered: hex::encode(offered),
        }
    }
}

/// A file's name in the store. It is filed under the append time of its first record, and sequences have
/// 20 digits, so that names sort as the log does.
pub(in crate::audit) fn name(cluster: &str, range: &Range, first_appended: Timestamp) -> String {
    let hour = first_appended.to_zoned(TimeZone::UTC);
    format!(
        "v=1/cluster={cluster}/date={}/hour={:02}/{}-{:020}-{:020}.parquet",
        hour.date(),
        hour.hour(),
        range.log_id,
        range.first,
        range.last
    )
}
