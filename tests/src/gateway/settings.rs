use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{Cluster, Oidc, Relay};

/// What a gateway is started with. JSON is YAML, so the configuration is a value that tests can change.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Value,
    /// File name and text.
    pub policies: Vec<(String, String)>,
    pub agents: Vec<(String, String)>,
    /// Beside the configuration.
    pub files: Vec<(String, String)>,
    /// How many seconds its clock is ahead of the others, or behind; none has the clock of all.
    pub clock: Option<i64>,
}

impl Settings {
    /// A gateway before `cluster` that accepts pods' tokens, on free ports.
    pub fn new(cluster: &Cluster) -> Self {
        let config = json!({
            "cluster": "test",
            "node": "test-node",
            "explicit": {"listen": "127.0.0.1:0", "allowServiceAccountTokens": true},
            "tls": {"local": {"directory": "tls", "names": ["localhost", "127.0.0.1"]}},
            "upstream": {"kubeconfig": cluster.kubeconfig},
            "authentication": {"serviceAccounts": {"issuer": cluster.service_account_issuer}},
            "agents": {"directory": "agents"},
            "policy": {"directory": "policies"},
            "recording": {
                "wal": {"directory": "wal", "limit": "256MiB", "segmentSize": "4MiB"},
                "store": {"directory": "store"},
                "flush": {"interval": "1s", "urgentInterval": "1s", "size": "16MiB"},
            },
            "masking": {"keyFile": "mask.key"},
            "admin": {"listen": "127.0.0.1:0"},
        });
        Self {
            config,
            policies: Vec::new(),
            agents: Vec::new(),
            files: Vec::new(),
            clock: None,
        }
    }

    /// Also accepts `oidc` as the issuer that policies call `github`.
    pub fn with_github(mut self, oidc: &Oidc) -> Self {
        self.config["authentication"]["oidc"] = json!([{
            "name": "github",
            "issuer": oidc.issuer,
            "preset": "github-actions",
            "caFile": oidc.ca_file(),
        }]);
        self
    }

    pub fn with_policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    pub fn with_agent(mut self, name: &str, text: &str) -> Self {
        self.agents.push((name.to_owned(), text.to_owned()));
        self
    }

    pub fn with_file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Records as much of each call as `levels` says, an `audit.k8s.io/v1` Policy.
    pub fn recording_by(mut self, levels: &str) -> Self {
        self.config["recording"]["policyFile"] = json!("levels.yaml");
        self.with_file("levels.yaml", levels)
    }

    /// Its clock is ahead of the others by so many seconds, or behind.
    pub fn with_clock(mut self, seconds: i64) -> Self {
        self.clock = Some(seconds);
        self
    }

    /// The API server is behind `relay`.
    pub fn through(mut self, relay: &Relay) -> Self {
        self.config["upstream"]["kubeconfig"] = json!(relay.kubeconfig());
        self
    }

    /// The configuration as it is written.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.config)?)
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        for name in ["policies", "agents", "wal", "store", "tls"] {
            fs::create_dir(directory.join(name))?;
        }
        for (name, text) in &self.policies {
            fs::write(directory.join("policies").join(name), text)?;
        }
        for (name, text) in &self.agents {
            fs::write(directory.join("agents").join(name), text)?;
        }
        for (name, text) in &self.files {
            fs::write(directory.join(name), text)?;
        }
        write_mask_key(&directory.join("mask.key"))?;
        fs::write(directory.join("gateway.yaml"), self.text()?)?;
        Ok(())
    }
}

/// 32 random bytes that only the owner reads, or the gateway refuses them.
fn write_mask_key(path: &Path) -> Result<()> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(BASE64_STANDARD.encode(key).as_bytes())?)
}
