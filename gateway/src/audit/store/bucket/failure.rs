//! What went wrong with a bucket, in the words of the server where it has any.

use std::{error::Error, fmt, path::PathBuf, time::Duration};

use object_store::Error as ClientError;

/// An answer is anybody's text.
const LONGEST: usize = 400;

#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("recording.store.s3.{field}: {problem}")]
    Setting {
        field: &'static str,
        problem: String,
    },
    #[error("recording.store.s3.{field}: cannot read {}", path.display())]
    File {
        field: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "no credentials for {location}: {source_name}: {reason}; set recording.store.s3.credentialsFile, or what the \
         AWS SDKs read"
    )]
    NoCredentials {
        location: String,
        source_name: String,
        reason: String,
    },
    #[error("{location} exists")]
    Exists { location: String },
    /// The cause repeats itself in its text, so it is told in our words and kept for `Debug` only.
    #[error("cannot {action} {location}: {reason}{}", advice(.reason))]
    Refused {
        action: &'static str,
        location: String,
        reason: String,
        cause: Box<ClientError>,
    },
    #[error(
        "cannot {action} {location}: no whole answer within {limit:?}; check the endpoint and the network, \
         or raise recording.store.s3.timeout"
    )]
    TooSlow {
        action: &'static str,
        location: String,
        limit: Duration,
    },
}

impl BucketError {
    pub(super) fn without_credentials(
        bucket: &impl fmt::Display,
        source_name: &str,
        cause: &ClientError,
    ) -> Self {
        Self::NoCredentials {
            location: bucket.to_string(),
            source_name: source_name.to_owned(),
            reason: reason(cause),
        }
    }

    pub(super) fn answered(action: &'static str, location: &str, cause: ClientError) -> Self {
        let location = location.to_owned();
        match cause {
            // A 409 says so too where two PUTs of one name meet; reading it back tells.
            ClientError::AlreadyExists { .. } => Self::Exists { location },
            cause => Self::Refused {
                action,
                location,
                reason: reason(&cause),
                cause: Box::new(cause),
            },
        }
    }
}

/// Code and message where the server sent some, else the last two causes.
fn reason(cause: &ClientError) -> String {
    let text = cause.to_string();
    let said = between(&text, "<Code>", "</Code>").map(|code| {
        let message = between(&text, "<Message>", "</Message>").unwrap_or_default();
        format!("the server says {code}: {message}")
    });
    let said = said
        .or_else(|| status(&text))
        .unwrap_or_else(|| last(cause));
    printable(&said)
}

/// An answer without XML, such as one of a proxy, or to a HEAD.
fn status(text: &str) -> Option<String> {
    let (_, status) = text.split_once("status code: ")?;
    Some(format!(
        "the server says {}",
        status.trim_end_matches([' ', ':'])
    ))
}

fn last(cause: &ClientError) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = Some(cause);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.dedup();
    let from = texts.len().saturating_sub(2);
    texts[from..].join(": ")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inner, _)| inner)
}

fn printable(text: &str) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(LONGEST).collect::<String>().trim().to_owned()
}

/// What to do next, for the errors that a wrong configuration leads to.
fn advice(reason: &str) -> &'static str {
    const ADVICE: [(&str, &str); 9] = [
        (
            "NoSuchBucket",
            "; check recording.store.s3.bucket, region and endpoint",
        ),
        (
            "AccessDenied",
            "; the credentials need s3:PutObject, s3:GetObject and s3:ListBucket",
        ),
        (
            "InvalidAccessKeyId",
            "; check the credentials' access key id",
        ),
        (
            "SignatureDoesNotMatch",
            "; check the credentials' secret access key",
        ),
        ("ExpiredToken", "; the credentials have to be renewed"),
        ("RequestTimeTooSkewed", "; set this machine's clock"),
        (
            "AuthorizationHeaderMalformed",
            "; check recording.store.s3.region",
        ),
        ("PermanentRedirect", "; check recording.store.s3.region"),
        (
            "incorrectly configured region",
            "; check recording.store.s3.region",
        ),
    ];
    ADVICE
        .iter()
        .find(|(code, _)| reason.contains(code))
        .map_or("", |(_, advice)| advice)
}

#[cfg(test)]
mod tests;
