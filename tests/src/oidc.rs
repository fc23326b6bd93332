use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cluster, environment, raw::RawClient};

/// A real OIDC provider that issues what a CI platform would.
pub struct Oidc {
    pub issuer: String,
    client: RawClient,
    directory: TempDir,
}

#[derive(Deserialize)]
struct Announcement {
    issuer: String,
}

impl Oidc {
    pub fn from_env(cluster: &Cluster) -> Result<Self> {
        let Announcement { issuer } = environment::json("SALLYPORT_TEST_OIDC")?;
        let directory = tempfile::tempdir()?;
        let roots = roots(cluster)?;
        fs::write(directory.path().join("ca.crt"), &roots)?;
        Ok(Self {
            client: RawClient::new(&issuer, &roots, None)?,
            issuer,
            directory,
        })
    }

    /// The roots that its certificate verifies against.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// A validly signed token with `claims` in place of the provider's own.
    pub fn token(&self, claims: &Value) -> Result<String> {
        let form = format!(
            "client_id=tests&client_secret=tests&grant_type=client_credentials&resource=urn:sallyport&claims={}",
            percent_encode(&claims.to_string())
        );
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let response = self
            .client
            .request("POST", "/token", &headers, form.as_bytes())?;
        ensure!(
            response.status == 200,
            "the OIDC provider refused: {}",
            response.text()
        );
        let answer = response.json()?;
        Ok(answer["access_token"]
            .as_str()
            .context("no access_token")?
            .to_owned())
    }

    /// The provider's key set, by its discovery document.
    pub fn jwks(&self) -> Result<Value> {
        let discovery = self
            .client
            .request("GET", "/.well-known/openid-configuration", &[], &[])?
            .json()?;
        let uri = discovery["jwks_uri"]
            .as_str()
            .context("discovery names no jwks_uri")?;
        let path = uri
            .strip_prefix(&self.issuer)
            .context("the keys are elsewhere")?;
        self.client.request("GET", path, &[], &[])?.json()
    }

    /// The claims of a GitHub Actions job of repository `id`.
    pub fn github_claims(id: &str) -> Value {
        json!({
            "sub": format!("repo:octo-org@65/octo-repo@{id}:ref:refs/heads/main"),
            "repository": "octo-org/octo-repo",
            "repository_id": id,
            "repository_owner": "octo-org",
            "repository_owner_id": "65",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
            "job_workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
            "ref": "refs/heads/main",
            "sha": "7b3f1f0a4c6b2b2a6e0d9d1f3c5e7a9b1d3f5a7c",
            "run_id": "9001",
            "run_attempt": "2",
            "actor": "octocat",
            "actor_id": "12",
            "event_name": "push",
            "runner_environment": "github-hosted",
        })
    }
}

/// Where the cluster's CA did not sign the provider's certificate, that certificate is its own root.
fn roots(cluster: &Cluster) -> Result<Vec<u8>> {
    let mut roots = cluster.ca()?;
    if let Some(certs) = &cluster.certs {
        roots.extend(fs::read(&certs.oidc_cert)?);
    }
    Ok(roots)
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
