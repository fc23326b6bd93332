//! Where recorded calls are kept.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use serde::Deserialize;

use super::HumanDuration;

/// One of two places.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Places")]
pub enum Store {
    Directory(PathBuf),
    S3(S3),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Places {
    directory: Option<PathBuf>,
    s3: Option<S3>,
}

impl TryFrom<Places> for Store {
    type Error = &'static str;

    fn try_from(places: Places) -> Result<Self, Self::Error> {
        match (places.directory, places.s3) {
            (Some(directory), None) => Ok(Self::Directory(directory)),
            (None, Some(s3)) => Ok(Self::S3(s3)),
            (Some(_), Some(_)) => Err("name either directory or s3, not both"),
            (None, None) => Err("name one of directory and s3"),
        }
    }
}

/// A bucket of S3, or of a server that speaks its protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct S3 {
    pub bucket: String,
    /// What names begin with: `prod/eu`. Nothing where absent.
    #[serde(default)]
    pub prefix: String,
    /// `AWS_REGION` where absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Of a server other than AWS: `https://s3.example:9000`. The bucket's name is appended as a path.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Lets the endpoint begin with `http://`: records then travel in the clear.
    #[serde(default)]
    pub allow_http: bool,
    /// Roots beside the system's, for the endpoint's certificate.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An AWS credentials file, read anew for each request, so it may be replaced. Where absent the
    /// environment says where credentials come from.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// How long storing a file, or reading a part of one, may take, repetitions and credentials included.
    #[serde(default = "S3::default_timeout")]
    pub timeout: HumanDuration,
}

impl Store {
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::S3(s3) => s3
                .check()
                .map_err(|problem| format!("recording.store.s3.{problem}")),
        }
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        match self {
            Self::Directory(directory) => join(directory),
            Self::S3(s3) => [&mut s3.ca_file, &mut s3.credentials_file]
                .into_iter()
                .flatten()
                .for_each(join),
        }
    }
}

impl S3 {
    const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

    fn default_timeout() -> HumanDuration {
        HumanDuration(Duration::from_secs(60))
    }

    /// For reading, where no configuration says more. An endpoint may be plain HTTP if it says so itself.
    pub fn at(bucket: &str, prefix: &str, endpoint: Option<String>) -> Result<Self, String> {
        let s3 = Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: None,
            allow_http: endpoint.is_some(),
            endpoint,
            ca_file: None,
            credentials_file: None,
            timeout: Self::default_timeout(),
        };
        s3.check().map(|()| s3)
    }

    fn check(&self) -> Result<(), String> {
        self.check_bucket()?;
        self.check_prefix()?;
        if self.timeout.0 < Self::LEAST_TIMEOUT {
            return Err(
                "timeout: no file can be sent in less than a second; write 1s or more".into(),
            );
        }
        self.endpoint
            .as_deref()
            .map_or(Ok(()), |endpoint| self.check_endpoint(endpoint))
    }

    fn check_bucket(&self) -> Result<(), String> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        };
        if (3..=63).contains(&self.bucket.len()) && self.bucket.bytes().all(plain) {
            return Ok(());
        }
        Err(format!(
            "bucket: {:?} is not the name of a bucket, which is 3 to 63 of a-z, 0-9, '-' and '.'; a path in it goes to prefix",
            self.bucket
        ))
    }

    fn check_prefix(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._=".contains(&byte);
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        if self.prefix.is_empty() || self.prefix.split('/').all(segment) {
            return Ok(());
        }
        Err(format!(
            "prefix: write {:?} as names of a-z, A-Z, 0-9, '-', '.', '_' and '=' with one '/' between them, as in prod/eu",
            self.prefix
        ))
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), String> {
        let uri: Uri = endpoint
            .parse()
            .map_err(|_| not_an_endpoint("it is not a URL"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| not_an_endpoint("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(not_an_endpoint("credentials do not belong in it"));
        }
        if uri.query().is_some() {
            return Err(not_an_endpoint("it has a query"));
        }
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_http => Ok(()),
            Some("http") => Err(format!(
                "endpoint: {endpoint} would send records in the clear; write https://, or set recording.store.s3.allowHttp: true"
            )),
            _ => Err(not_an_endpoint("it is neither https:// nor http://")),
        }
    }
}

/// Without the value, which may hold a credential.
fn not_an_endpoint(why: &str) -> String {
    format!("endpoint: {why}; write https://HOST or https://HOST:PORT")
}

#[cfg(test)]
mod tests;
