//! From the configuration and the environment to a client.
//!
//! Of the environment only what the AWS SDKs read for region and credentials counts: no variable may
//! change where the evidence goes, or whether it is encrypted on its way.

use std::{fs, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key, Checksum},
};

use super::{BucketError, credentials::CredentialsFile};
use crate::config::S3;

/// Repeated by the client itself; whoever wants the file stored goes on longer, with fresh credentials.
const RETRIES: usize = 2;
const RETRY_FOR: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// Where a variable comes from.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE: &str = "AWS_ROLE_ARN";
const TASK: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const POD: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const POD_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

const CREDENTIALS: [(&str, Key); 11] = [
    (KEY_ID, Key::AccessKeyId),
    (SECRET, Key::SecretAccessKey),
    ("AWS_SESSION_TOKEN", Key::Token),
    (WEB_IDENTITY, Key::WebIdentityTokenFile),
    (ROLE, Key::RoleArn),
    ("AWS_ROLE_SESSION_NAME", Key::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", Key::StsEndpoint),
    (TASK, Key::ContainerCredentialsRelativeUri),
    (POD, Key::ContainerCredentialsFullUri),
    (POD_TOKEN, Key::ContainerAuthorizationTokenFile),
    ("AWS_METADATA_ENDPOINT", Key::MetadataEndpoint),
];

/// A client for reading, and one for writing with the same credentials.
pub(super) fn clients(config: &S3, environment: Environment<'_>) -> Result<Clients, BucketError> {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(region(config, environment)?)
        .with_retry(retry());
    let builder = match &config.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    };
    let options = options(config)?;
    let reading = builder.clone().with_client_options(options.clone());
    let reading = match source(config, environment)? {
        Source::File(path) => {
            reading.with_credentials(Arc::new(CredentialsFile::open(path.to_owned())?))
        }
        _ => with_variables(reading, environment),
    };
    let unusable = |cause: object_store::Error| BucketError::Refused {
        action: "use",
        location: format!("s3://{}", config.bucket),
        reason: cause.to_string(),
        cause: Box::new(cause),
    };
    let reading = reading.build().map_err(unusable)?;
    let writing = builder
        .with_credentials(Arc::clone(reading.credentials()))
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(options.with_default_headers(checksum_is_there()));
    let writing = writing.build().map_err(unusable)?;
    Ok(Clients { reading, writing })
}

#[derive(Debug)]
pub(super) struct Clients {
    pub(super) reading: AmazonS3,
    pub(super) writing: AmazonS3,
}

/// A bucket whose Object Lock has a default retention takes nothing without it, whatever the checksum.
fn checksum_is_there() -> HeaderMap {
    let name = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
    HeaderMap::from_iter([(name, HeaderValue::from_static("SHA256"))])
}

/// For a person who checks a configuration.
pub(super) fn describe(config: &S3, environment: Environment<'_>) -> Result<String, BucketError> {
    let place = match &config.endpoint {
        Some(endpoint) => format!("at {endpoint}"),
        None => format!("in {}", region(config, environment)?),
    };
    Ok(format!(
        "s3://{}/{} {place}, credentials from {}",
        config.bucket,
        config.prefix,
        source_name(config, environment)?
    ))
}

/// Where credentials come from, for people.
pub(super) fn source_name(
    config: &S3,
    environment: Environment<'_>,
) -> Result<String, BucketError> {
    Ok(match source(config, environment)? {
        Source::File(path) => path.display().to_string(),
        Source::Keys => KEY_ID.to_owned(),
        Source::WebIdentity => WEB_IDENTITY.to_owned(),
        Source::Container => "the container's credentials endpoint".to_owned(),
        Source::Instance => "the instance's metadata service".to_owned(),
    })
}

/// Where credentials come from, in the order in which the AWS SDKs look.
enum Source<'a> {
    File(&'a Path),
    Keys,
    WebIdentity,
    Container,
    Instance,
}

fn source<'a>(config: &'a S3, environment: Environment<'_>) -> Result<Source<'a>, BucketError> {
    if let Some(path) = &config.credentials_file {
        return Ok(Source::File(path));
    }
    let set = |name| environment(name).is_some();
    let both = |one, other| match (set(one), set(other)) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(half(one, other)),
        (false, true) => Err(half(other, one)),
    };
    if both(KEY_ID, SECRET)? {
        return Ok(Source::Keys);
    }
    if both(WEB_IDENTITY, ROLE)? {
        return Ok(Source::WebIdentity);
    }
    if set(TASK) || both(POD, POD_TOKEN)? {
        return Ok(Source::Container);
    }
    Ok(Source::Instance)
}

fn half(is: &str, is_not: &str) -> BucketError {
    BucketError::Setting {
        field: "credentialsFile",
        problem: format!("is not set, and of the environment {is} is, but {is_not} is not"),
    }
}

fn with_variables(builder: AmazonS3Builder, environment: Environment<'_>) -> AmazonS3Builder {
    CREDENTIALS
        .into_iter()
        .fold(builder, |builder, (name, key)| match environment(name) {
            Some(value) => builder.with_config(key, value),
            None => builder,
        })
}

/// Signatures name a region, also before servers that have none.
fn region(config: &S3, environment: Environment<'_>) -> Result<String, BucketError> {
    let elsewhere = || config.endpoint.as_ref().map(|_| "us-east-1".to_owned());
    config
        .region
        .clone()
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"))
        .or_else(elsewhere)
        .ok_or_else(|| BucketError::Setting {
            field: "region",
            problem: "is missing, and AWS_REGION is not set: name the region of the bucket".into(),
        })
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
    }
}

fn options(config: &S3) -> Result<ClientOptions, BucketError> {
    let options = ClientOptions::new()
        // Ours includes the credentials and every repetition.
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT.min(config.timeout.0))
        .with_allow_http(config.allow_http);
    let Some(path) = &config.ca_file else {
        return Ok(options);
    };
    let roots = roots(path)?;
    Ok(roots
        .into_iter()
        .fold(options, ClientOptions::with_root_certificate))
}

fn roots(path: &Path) -> Result<Vec<Certificate>, BucketError> {
    let pem = fs::read(path).map_err(|source| BucketError::File {
        field: "caFile",
        path: path.to_owned(),
        source,
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(BucketError::Setting {
            field: "caFile",
            problem: format!("{} holds no certificate in PEM", path.display()),
        }),
    }
}

#[cfg(test)]
mod tests;
