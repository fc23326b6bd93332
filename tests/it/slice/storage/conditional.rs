//! What a name in a bucket holds is never replaced.

use anyhow::{Context, Result};
use bytes::Bytes;
use harness::s3::{self, Fault, FileServer, Wire};
use http::Method;
use sallyport::{
    audit::{
        parquet::Range,
        store::{Store, StoreError},
    },
    config, hex,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

struct Bucket {
    server: FileServer,
    wire: Wire,
    store: Store,
    runtime: Runtime,
    _credentials: TempDir,
}

impl Bucket {
    fn new() -> Result<Self> {
        let server = FileServer::start()?;
        let wire = Wire::before(server.address())?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("credentials");
        std::fs::write(&path, s3::credentials(s3::SECRET))?;
        let mut place =
            config::S3::at(s3::BUCKET, "", Some(wire.endpoint())).map_err(anyhow::Error::msg)?;
        place.credentials_file = Some(path);
        Ok(Self {
            server,
            wire,
            store: Store::open(&config::Store::S3(place), "prod")?,
            runtime: Runtime::new()?,
            _credentials: directory,
        })
    }

    fn put(&self, bytes: &'static [u8]) -> Result<String, StoreError> {
        let range = Range {
            log_id: "0197-log".to_owned(),
            first: 1,
            last: 2,
        };
        let appended = "2026-03-04T05:00:00Z".parse().expect("a time");
        let put = self.store.put(&range, appended, Bytes::from_static(bytes));
        self.runtime.block_on(put)
    }

    /// The one object's key and content.
    fn object(&self) -> Result<(String, Vec<u8>)> {
        let mut objects = self.server.objects()?;
        let object = objects.pop_first().context("no object")?;
        assert!(objects.is_empty(), "{objects:?}");
        Ok(object)
    }
}

const KEY: &str = "v=1/cluster=prod/date=2026-03-04/hour=05/0197-log-00000000000000000001-00000000000000000002.parquet";

/// Of `one` and `two`.
const DIGESTS: [&str; 2] = [
    "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
];

#[test]
fn the_same_file_again_is_success_and_another_is_never_written_over_it() -> Result<()> {
    let bucket = Bucket::new()?;
    let location = bucket.put(b"one")?;
    assert_eq!(location, format!("s3://evidence/{KEY}"));
    assert_eq!(bucket.put(b"one")?, location);

    let error = bucket.put(b"two").expect_err("another file is there");
    let text = error.to_string();
    for expected in [location.as_str(), DIGESTS[0], DIGESTS[1]] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(
        error.is_of_one_file(),
        "other files are stored all the same"
    );
    assert_eq!(bucket.object()?, (KEY.to_owned(), b"one".to_vec()));
    Ok(())
}

#[test]
fn a_lost_answer_is_success_only_if_the_stored_bytes_are_ours() -> Result<()> {
    let bucket = Bucket::new()?;
    bucket.wire.set(Fault::LoseReplies(1));
    bucket.put(b"one")?;
    assert_eq!(bucket.wire.carried_out(&Method::PUT), 2);
    assert_eq!(bucket.wire.carried_out(&Method::GET), 1);

    bucket.wire.set(Fault::LoseReplies(1));
    bucket
        .put(b"two")
        .expect_err("the first file is still there");
    assert_eq!(bucket.object()?.1, b"one");
    Ok(())
}

#[test]
fn what_an_object_says_of_itself_is_not_believed() -> Result<()> {
    let bucket = Bucket::new()?;
    bucket.put(b"one")?;
    // The object's metadata keeps the old digest.
    std::fs::write(bucket.server.bucket().join(KEY), b"forged")?;
    let error = bucket.put(b"one").expect_err("the bytes are not ours");
    let StoreError::Clash {
        stored, offered, ..
    } = error
    else {
        panic!("{error}")
    };
    let forged = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"forged");
    assert_eq!(stored, hex::encode(forged.as_ref()));
    assert_eq!(offered, DIGESTS[0]);
    Ok(())
}
