//! Where an issuer's keys come from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use openidconnect::{JsonWebKeySet, core::CoreJsonWebKey};
use serde::Deserialize;

use crate::authn::https::{FetchError, HttpsClient};

pub(in crate::authn) type KeySet = JsonWebKeySet<CoreJsonWebKey>;

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read the key set {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot fetch {what}")]
    Fetch {
        what: &'static str,
        #[source]
        source: FetchError,
    },
    #[error(
        "cannot read the API server's key set; its discovery role must be bound to the gateway"
    )]
    ApiServer(#[source] Box<kube::Error>),
    #[error("no answer from the API server within 10 s")]
    TimedOut,
    #[error("{what} is not the JSON it should be")]
    Malformed {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "the discovery document names the issuer {found:?} instead of {expected:?}; they must be equal to the byte"
    )]
    IssuerMismatch { expected: String, found: String },
    #[error("the key set holds no key that can verify a signature")]
    NoUsableKey,
    #[error("the last attempt was only seconds ago")]
    TooSoon,
}

/// Where keys come from.
pub(in crate::authn) enum Origin {
    File(PathBuf),
    /// OpenID Connect Discovery 1.0, section 4.
    Discovery {
        issuer: String,
        client: HttpsClient,
    },
    /// The upstream API server's `/openid/v1/jwks`, with the gateway's own credential.
    ApiServer(kube::Client),
}

impl Origin {
    /// The keys as they are at the origin now.
    pub(super) async fn load(&self) -> Result<KeySet, KeysError> {
        match self {
            Self::File(path) => parse_key_set(
                &tokio::fs::read(path)
                    .await
                    .map_err(|source| unreadable(path, source))?,
            ),
            Self::Discovery { issuer, client } => discover(issuer, client).await,
            Self::ApiServer(client) => parse_key_set(api_server_keys(client).await?.as_bytes()),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::File(_) => "file",
            Self::Discovery { issuer, .. } => issuer,
            Self::ApiServer(_) => "API server",
        }
    }
}

/// Checks at start that `path` holds keys, so that a wrong file is found before the first agent calls.
pub(in crate::authn) fn check_file(path: &Path) -> Result<(), KeysError> {
    let bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    parse_key_set(&bytes).map(drop)
}

fn unreadable(path: &Path, source: std::io::Error) -> KeysError {
    KeysError::File {
        path: path.to_owned(),
        source,
    }
}

/// The members that a verifier needs. Workload issuers such as GitHub's and the API server have no
/// `authorization_endpoint`, so OpenID Connect's full provider metadata would refuse them.
#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    jwks_uri: String,
}

async fn discover(issuer: &str, client: &HttpsClient) -> Result<KeySet, KeysError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document: DiscoveryDocument = parse(
        &get(client, &url, "the discovery document").await?,
        "the discovery document",
    )?;
    if document.issuer != issuer {
        return Err(KeysError::IssuerMismatch {
            expected: issuer.to_owned(),
            found: document.issuer,
        });
    }
    parse_key_set(&get(client, &document.jwks_uri, "the key set").await?)
}

async fn get(client: &HttpsClient, url: &str, what: &'static str) -> Result<Bytes, KeysError> {
    let fetched = client.fetch(url, None).await;
    fetched.map_err(|source| KeysError::Fetch { what, source })
}

async fn api_server_keys(client: &kube::Client) -> Result<String, KeysError> {
    let request = http::Request::get("/openid/v1/jwks")
        .body(Vec::new())
        .expect("a constant request is valid");
    tokio::time::timeout(Duration::from_secs(10), client.request_text(request))
        .await
        .map_err(|_| KeysError::TimedOut)?
        .map_err(|error| KeysError::ApiServer(Box::new(error)))
}

fn parse_key_set(bytes: &[u8]) -> Result<KeySet, KeysError> {
    let set: KeySet = parse(bytes, "the key set")?;
    if set.keys().is_empty() {
        return Err(KeysError::NoUsableKey);
    }
    Ok(set)
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &'static str) -> Result<T, KeysError> {
    serde_json::from_slice(bytes).map_err(|source| KeysError::Malformed { what, source })
}
