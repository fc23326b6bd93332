//! One URL that is told.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Deserialize;

/// Told by a POST of signed JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Webhook {
    /// In logs, where the URL would be a secret.
    pub name: String,
    pub url: Url,
    /// What signs each message, so that the receiver knows whose it is. White space around it does not count.
    pub secret_file: PathBuf,
    /// Extra roots for its HTTPS.
    pub ca_file: Option<PathBuf>,
}

/// Whoever has the URL of a chat's webhook may write there, so it can be a file of its own.
#[derive(Clone, Debug)]
pub enum Url {
    Text(String),
    File(PathBuf),
}

/// As it is written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    name: String,
    url: Option<String>,
    url_file: Option<PathBuf>,
    secret_file: PathBuf,
    ca_file: Option<PathBuf>,
}

impl TryFrom<Written> for Webhook {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let url = match (written.url, written.url_file) {
            (Some(url), None) => Url::Text(url),
            (None, Some(file)) => Url::File(file),
            _ => return Err(format!("{:?}: write one of url and urlFile", written.name)),
        };
        Ok(Self {
            name: written.name,
            url,
            secret_file: written.secret_file,
            ca_file: written.ca_file,
        })
    }
}

impl Webhook {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let url = match &mut self.url {
            Url::File(path) => Some(path),
            Url::Text(_) => None,
        };
        url.into_iter()
            .chain([&mut self.secret_file])
            .chain(&mut self.ca_file)
    }
}

pub(super) fn check(field: &str, webhooks: &[Webhook]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for webhook in webhooks {
        if webhook.name.is_empty() || !names.insert(&webhook.name) {
            return Err(format!(
                "{field}: {:?}: each webhook has a name of its own",
                webhook.name
            ));
        }
    }
    Ok(())
}
