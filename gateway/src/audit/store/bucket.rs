//! Files in a bucket of S3, or of a server that speaks its protocol.
//!
//! One PUT makes one file, on condition that its name is free. An answer that says it is not, also to the
//! second try of a PUT whose first answer was lost, leads to a GET: the file is stored if what is there
//! has our SHA-256. What the object says of itself is not asked, since whoever may write objects may
//! write that too.
//!
//! Requests are repeated for seconds only, because they are repeated with the credentials they were
//! signed with. Whoever wants a file stored calls again, which signs anew.

use std::{fmt, future::Future, ops::Range, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{
    Attribute, Attributes, Error as ClientError, GetOptions, GetRange, ObjectMeta, ObjectStore,
    PutMode, PutOptions, path::Path,
};

pub use self::failure::BucketError;
use self::settings::Clients;
use super::StoreError;
use crate::{audit::canonical, config, hex};

mod credentials;
mod failure;
mod settings;

/// The media type that is registered for Parquet.
const PARQUET: &str = "application/vnd.apache.parquet";
/// `x-amz-meta-sha256`: for those who compare without reading.
const DIGEST: &str = "sha256";

/// A bucket, and what names in it begin with.
#[derive(Clone)]
pub struct Bucket {
    clients: Arc<Clients>,
    bucket: Arc<str>,
    prefix: Arc<str>,
    /// Where credentials come from, for people.
    source: Arc<str>,
    timeout: Duration,
}

impl Bucket {
    /// Finds out where credentials come from. Nothing is asked for yet.
    pub fn open(config: &config::S3) -> Result<Self, BucketError> {
        let environment = |name: &str| std::env::var(name).ok();
        let clients = settings::clients(config, &environment)?;
        Ok(Self {
            clients: Arc::new(clients),
            bucket: config.bucket.as_str().into(),
            prefix: config.prefix.as_str().into(),
            source: settings::source_name(config, &environment)?.into(),
            timeout: config.timeout.0,
        })
    }

    /// What [`open`](Self::open) would use: place, region, credentials.
    pub fn describe(config: &config::S3) -> Result<String, BucketError> {
        let environment = |name: &str| std::env::var(name).ok();
        settings::clients(config, &environment)?;
        settings::describe(config, &environment)
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<String, StoreError> {
        let (key, location) = (self.key(name), self.location(name));
        let digest = canonical::digest(&bytes);
        let put = self
            .clients
            .writing
            .put_opts(&key, bytes.into(), create(&hex::encode(&digest)));
        match self.within("write", &location, put).await {
            Ok(_) => Ok(location),
            Err(BucketError::Exists { .. }) => self.same_object(&key, location, &digest).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn same_object(
        &self,
        key: &Path,
        location: String,
        offered: &[u8],
    ) -> Result<String, StoreError> {
        let stored = self
            .within("read back", &location, self.stored_digest(key))
            .await?;
        if stored.as_ref() == offered {
            return Ok(location);
        }
        Err(StoreError::clash(location, stored.as_ref(), offered))
    }

    async fn stored_digest(&self, key: &Path) -> Result<aws_lc_rs::digest::Digest, ClientError> {
        let found = self
            .clients
            .reading
            .get_opts(key, GetOptions::default())
            .await?;
        let mut digest = Context::new(&SHA256);
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            digest.update(&chunk);
        }
        Ok(digest.finish())
    }

    /// Hands over every object below `v=1/`.
    pub(super) async fn list(&self, mut visit: impl FnMut(ObjectMeta)) -> Result<(), BucketError> {
        let (key, location) = (self.key("v=1"), self.location("v=1/"));
        let mut objects = self.clients.reading.list(Some(&key));
        // Time runs for each answer, however many there are.
        while let Some(object) = self.within("list", &location, objects.try_next()).await? {
            visit(object);
        }
        Ok(())
    }

    /// Part of an object, as it was when it was listed.
    pub(super) async fn range(
        &self,
        object: &ObjectMeta,
        range: Range<u64>,
    ) -> Result<Bytes, BucketError> {
        let options = GetOptions {
            if_match: object.e_tag.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let read = async {
            self.clients
                .reading
                .get_opts(&object.location, options)
                .await?
                .bytes()
                .await
        };
        self.within("read", &self.location_of(&object.location), read)
            .await
    }

    /// However many requests the client makes of it, those for credentials included.
    async fn within<T>(
        &self,
        action: &'static str,
        location: &str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, BucketError> {
        let work = async {
            self.find_credentials().await?;
            let outcome = work.await;
            outcome.map_err(|cause| BucketError::answered(action, location, cause))
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BucketError::TooSlow {
                action,
                location: location.to_owned(),
                limit: self.timeout,
            }),
        }
    }

    /// The client would, but its error does not tell whose answer it was.
    async fn find_credentials(&self) -> Result<(), BucketError> {
        let found = self.clients.reading.credentials().get_credential().await;
        found
            .map(drop)
            .map_err(|cause| BucketError::without_credentials(self, &self.source, &cause))
    }

    fn key(&self, name: &str) -> Path {
        match &*self.prefix {
            "" => Path::from(name),
            prefix => Path::from(format!("{prefix}/{name}")),
        }
    }

    /// What comes after the prefix.
    pub(super) fn name_of<'a>(&self, key: &'a Path) -> &'a str {
        let key = key.as_ref();
        let rest = key.strip_prefix(&*self.prefix).unwrap_or(key);
        rest.trim_start_matches('/')
    }

    pub(super) fn location_of(&self, key: &Path) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn location(&self, name: &str) -> String {
        self.location_of(&self.key(name))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// Without the client, which knows credentials.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}

fn create(digest: &str) -> PutOptions {
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, PARQUET.to_owned()),
        (Attribute::Metadata(DIGEST.into()), digest.to_owned()),
    ]);
    PutOptions {
        mode: PutMode::Create,
        attributes,
        ..PutOptions::default()
    }
}
