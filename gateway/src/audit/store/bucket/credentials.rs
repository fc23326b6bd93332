//! Credentials from a file that someone else keeps fresh: a mounted Secret, an agent that rotates them.

use std::{fmt, fs, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use object_store::{CredentialProvider, Error, aws::AwsCredential};

use super::BucketError;

const FIELD: &str = "credentialsFile";

/// Read anew for each request: that is seldom, and what is read is then never out of date.
pub(super) struct CredentialsFile {
    path: PathBuf,
}

type Provided<'a> = Pin<Box<dyn Future<Output = Result<Arc<AwsCredential>, Error>> + Send + 'a>>;

impl CredentialsFile {
    /// Reads it once, so that what is wrong with it shows at once.
    pub(super) fn open(path: PathBuf) -> Result<Self, BucketError> {
        let file = Self { path };
        file.read()?;
        Ok(file)
    }

    fn read(&self) -> Result<AwsCredential, BucketError> {
        let text = fs::read_to_string(&self.path).map_err(|source| BucketError::File {
            field: FIELD,
            path: self.path.clone(),
            source,
        })?;
        parse(&text).map_err(|problem| BucketError::Setting {
            field: FIELD,
            problem: format!("{} {problem}", self.path.display()),
        })
    }
}

impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> Provided<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let read = self.read().map(Arc::new).map_err(|error| Error::Generic {
            store: "S3",
            source: error.into(),
        });
        Box::pin(std::future::ready(read))
    }
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialsFile({})", self.path.display())
    }
}

/// The profile `default` of an AWS credentials file. Nothing of the text is repeated in an error.
fn parse(text: &str) -> Result<AwsCredential, String> {
    let value = |name: &str| setting(text, name).map(str::to_owned);
    let required =
        |name: &str| value(name).ok_or_else(|| format!("has no {name} in the profile [default]"));
    Ok(AwsCredential {
        key_id: required("aws_access_key_id")?,
        secret_key: required("aws_secret_access_key")?,
        token: value("aws_session_token"),
    })
}

fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut section = "";
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = header.trim();
        } else if let Some((key, value)) = line.split_once('=')
            && section == "default"
            && key.trim().eq_ignore_ascii_case(name)
        {
            found = Some(value.trim()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests;
