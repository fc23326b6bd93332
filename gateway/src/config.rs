//! The configuration as it is meant: read from one YAML file, every value parsed.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

pub use self::{
    decoys::{DecoySecret, Decoys},
    quantity::{ByteSize, HumanDuration},
    store::{S3, Store},
};

pub mod controller;
#[cfg(target_os = "linux")]
pub mod node;
mod decoys;
mod file;
mod quantity;
mod store;
pub mod watch;

/// `gateway.yaml`. Unknown fields are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The cluster's name in records and in the store's paths.
    pub cluster: String,
    /// This node's name in records; `NODE_NAME` of the environment where absent, else the host name.
    pub node: Option<String>,
    /// This or `capture`.
    pub explicit: Option<Explicit>,
    pub capture: Option<Capture>,
    pub tls: Tls,
    #[serde(default)]
    pub upstream: Upstream,
    pub authentication: Authentication,
    #[serde(default)]
    pub agents: Option<Directory>,
    /// May be absent where `objects` is set.
    #[serde(default)]
    pub policy: Option<Directory>,
    /// Objects of the cluster that count beside the files. Where absent, only files do, and what needs a person's
    /// approval is denied.
    #[serde(default)]
    pub objects: Option<Objects>,
    pub recording: Recording,
    pub masking: Masking,
    #[serde(default)]
    pub admin: Option<Admin>,
    /// Without it nobody follows records as they are made, or ends one call.
    #[serde(default)]
    pub control: Option<Control>,
    #[serde(default)]
    pub upgrades: Upgrades,
    #[serde(default)]
    pub decoys: Decoys,
    #[serde(default)]
    pub limits: Limits,
}

/// The listener for agents that come with a kubeconfig of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Explicit {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// No kernel vouches for the pod on this listener, so a stolen pod token would work here.
    #[serde(default)]
    pub allow_service_account_tokens: bool,
}

/// Connections out of agents' pods, whose listeners the node agent hands over.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Capture {
    #[serde(default = "Capture::default_socket")]
    pub socket: PathBuf,
    /// Whom the node agent runs as; whoever else listens on the socket is refused.
    #[serde(default)]
    pub node_uid: u32,
}

impl Capture {
    fn default_socket() -> PathBuf {
        "/run/sallyport/node.sock".into()
    }
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Tls {
    /// A CA of our own in a directory, for a laptop, the demo and tests; refused inside a cluster.
    Local {
        directory: PathBuf,
        names: Vec<String>,
    },
    /// An issuing CA in PEM files, re-read on reload: each destination gets a certificate of its own.
    Authority {
        cert_file: PathBuf,
        key_file: PathBuf,
        /// What leads from there to the CA that clients trust, if that is another.
        chain_file: Option<PathBuf>,
        /// Of the explicit listener.
        #[serde(default)]
        names: Vec<String>,
    },
    /// A certificate chain and key in PEM files, re-read on reload, shown to everybody.
    Files {
        cert_file: PathBuf,
        key_file: PathBuf,
    },
}

impl Tls {
    /// The files that are read again when they change.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Local { .. } => Vec::new(),
            Self::Files {
                cert_file,
                key_file,
            } => vec![cert_file, key_file],
            Self::Authority {
                cert_file,
                key_file,
                chain_file,
                ..
            } => {
                let chain = chain_file.as_deref();
                [cert_file.as_path(), key_file]
                    .into_iter()
                    .chain(chain)
                    .collect()
            }
        }
    }
}

impl Tls {
    fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        match self {
            Self::Local { directory, .. } => join(directory),
            Self::Files {
                cert_file,
                key_file,
            } => {
                join(cert_file);
                join(key_file);
            }
            Self::Authority {
                cert_file,
                key_file,
                chain_file,
                ..
            } => {
                join(cert_file);
                join(key_file);
                chain_file.iter_mut().for_each(join);
            }
        }
    }
}

/// The API server that calls are forwarded to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// In-cluster configuration where absent.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authentication {
    #[serde(default)]
    pub service_accounts: Option<ServiceAccounts>,
    #[serde(default)]
    pub oidc: Vec<OidcIssuer>,
}

/// ServiceAccount tokens of audience `sallyport`: TokenReview is the authority, the keys only a filter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceAccounts {
    /// The API server's `--service-account-issuer`.
    pub issuer: String,
    /// Keys from a file; from the upstream API server's discovery where absent.
    pub jwks_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OidcIssuer {
    /// A short alias; it is part of the synthetic user's name.
    pub name: String,
    pub issuer: String,
    #[serde(default = "default_audiences")]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub preset: ClaimPreset,
    /// Keys from a file; by discovery where absent.
    pub jwks_file: Option<PathBuf>,
    /// Extra roots for the issuer's HTTPS.
    pub ca_file: Option<PathBuf>,
    /// Claims that name the model, where the agent platform's issuer adds them.
    #[serde(default)]
    pub model_claim: Option<String>,
    #[serde(default)]
    pub model_version_claim: Option<String>,
}

/// Which claims become the CI columns, always by immutable ids.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimPreset {
    #[default]
    None,
    GithubActions,
    Gitlab,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Directory {
    pub directory: PathBuf,
}

/// The `AgentPolicy`, `Agent`, `AgentStop` and `ApprovalRequest` objects of the cluster that is upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Objects {
    /// Where approval of a call is asked for whose target is in no namespace.
    #[serde(default = "Objects::default_namespace")]
    pub namespace: String,
}

impl Objects {
    fn default_namespace() -> String {
        "sallyport-system".to_owned()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recording {
    /// An `audit.k8s.io/v1` Policy; the shipped one where absent.
    pub policy_file: Option<PathBuf>,
    /// Without it a rule with level `None` is raised to `Metadata`.
    #[serde(default)]
    pub allow_none: bool,
    /// Let reads answer while their outcome is being committed.
    #[serde(default)]
    pub read_lag: bool,
    pub wal: WalConfig,
    pub store: Store,
    #[serde(default)]
    pub flush: Flush,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WalConfig {
    pub directory: PathBuf,
    /// Nothing is forwarded once 95 % of this is used.
    #[serde(default = "WalConfig::default_limit")]
    pub limit: ByteSize,
    /// A row must fit one segment. Two bodies of 1 MiB are up to 4 MiB in it, since JSON in a JSON
    /// string can double, so from 8 MiB on it holds what it should; in a smaller one, large bodies
    /// are left by their digests alone. Half of a segment is kept for what a call's outcome says
    /// beyond its intent, which without bodies is less than half a MiB: hence the least, 1 MiB.
    #[serde(default = "WalConfig::default_segment_size")]
    pub segment_size: ByteSize,
}

impl WalConfig {
    fn default_limit() -> ByteSize {
        ByteSize(10 << 30)
    }

    const LEAST_SEGMENT_SIZE: ByteSize = ByteSize(1 << 20);

    fn default_segment_size() -> ByteSize {
        ByteSize(64 << 20)
    }
}

/// When recorded calls become a Parquet file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Flush {
    pub interval: HumanDuration,
    /// For denied calls.
    pub urgent_interval: HumanDuration,
    pub size: ByteSize,
}

impl Default for Flush {
    fn default() -> Self {
        Self {
            interval: HumanDuration(Duration::from_secs(60)),
            urgent_interval: HumanDuration(Duration::from_secs(5)),
            size: ByteSize(64 << 20),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Masking {
    /// 32 random bytes in base64; equal values get equal placeholders while it stays the same.
    pub key_file: PathBuf,
    /// Secrets of one's own that begin with a fixed prefix, beside those that every gateway knows.
    #[serde(default)]
    pub detectors: Vec<Detector>,
    /// Fields whose values are secret, whatever they look like.
    #[serde(default)]
    pub sensitive_fields: Vec<SensitiveFields>,
}

/// What a secret looks like: `prefix`, and at least `length` of `characters` behind it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Detector {
    pub name: String,
    /// Four characters or more.
    pub prefix: String,
    /// Single ones and ranges, as `A-Za-z0-9_-`.
    pub characters: String,
    pub length: usize,
    #[serde(default)]
    pub check: Option<Check>,
    /// Texts with such a secret in them. One in which none is found makes the detector wrong.
    #[serde(default)]
    pub must_match: Vec<String>,
    /// Texts without one, that are close to it.
    #[serde(default)]
    pub must_not_match: Vec<String>,
}

/// What must be true of what stands behind the prefix.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Check {
    /// It looks as if nobody could have chosen it: digits and letters in no order.
    LooksRandom,
}

/// Some fields of some objects: as in an `AgentPolicy`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SensitiveFields {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub namespaces: Vec<String>,
    pub names: Vec<String>,
    /// As `.spec.data[*].value`.
    pub paths: Vec<String>,
}

/// `/metrics`, `/healthz` and `/readyz`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admin {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
}

/// What the controller asks of this gateway. Its certificate has the name `gateway.sallyport.dev`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Control {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    pub tls: Tls,
    /// PEM. Whoever has a certificate of this CA for `controller.sallyport.dev` is the controller, so no agent may
    /// have a way to one: `sallyport ca control` makes a CA for this alone.
    pub client_ca_file: PathBuf,
}

/// Connections that leave HTTP behind, WebSocket and SPDY.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Upgrades {
    /// What may be upgraded beyond exec, attach and port-forward of pods; policy is asked as well.
    pub allow: Vec<Upgradable>,
    /// An upgraded connection ends when nothing has passed on it for so long. The pings that clients send are
    /// traffic too.
    pub idle: HumanDuration,
    /// Records what clients send to programs, too: a terminal's password prompt shows nothing, and what is typed at it
    /// is here in the clear where no detector knows it.
    pub record_stdin: bool,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            idle: HumanDuration(Duration::from_secs(600)),
            record_stdin: false,
        }
    }
}

/// What is upgraded only where the configuration says so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Upgradable {
    /// Watches over WebSocket, of any resource.
    #[serde(rename = "watch")]
    Watch,
    #[serde(rename = "pods/log")]
    PodLog,
    #[serde(rename = "pods/proxy")]
    PodProxy,
    #[serde(rename = "services/proxy")]
    ServiceProxy,
    /// A shell in any container of the node, by the kubelet's own API.
    #[serde(rename = "nodes/proxy")]
    NodeProxy,
}

impl Upgradable {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::PodLog => "pods/log",
            Self::PodProxy => "pods/proxy",
            Self::ServiceProxy => "services/proxy",
            Self::NodeProxy => "nodes/proxy",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// What all buffered bodies together may take.
    pub buffered_bytes: ByteSize,
    pub per_principal: PerPrincipal,
    /// How long SIGTERM waits for calls in flight, and for upgraded connections to end by themselves.
    pub drain: HumanDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buffered_bytes: ByteSize(256 << 20),
            per_principal: PerPrincipal::default(),
            drain: HumanDuration(Duration::from_secs(25)),
        }
    }
}

/// What one user of the API server, an agent, may take of what all share. Who takes more is refused until it has
/// given something back, and nobody else notices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PerPrincipal {
    /// Of `bufferedBytes`.
    pub buffered_bytes: ByteSize,
    /// Of the log, on average; ten seconds' worth may come at once. The fuller the log, the less.
    pub record_bytes_per_second: ByteSize,
    /// In flight to the API server at a time, watches and open terminals included. One whose reader has stopped
    /// takes up to 320 KiB, a watch 128 KiB.
    pub calls: u32,
}

impl Default for PerPrincipal {
    fn default() -> Self {
        Self {
            buffered_bytes: ByteSize(64 << 20),
            record_bytes_per_second: ByteSize(16 << 20),
            calls: 512,
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!(
            "{text:?} is not an address to listen on: write 127.0.0.1:6443 or [::]:6443"
        ))
    })
}

fn default_audiences() -> Vec<String> {
    vec![crate::AUDIENCE.to_owned()]
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Invalid { path: PathBuf, message: String },
}

impl Config {
    /// Reads and checks `path`. Relative paths inside it are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        file::load(path, Self::parse, Self::resolve)
    }

    /// Parses and checks `text`; the error names line and field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| yaml_problem(&error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        check_path_segment("cluster", &self.cluster)?;
        self.check_entries()?;
        if self.policy.is_none() && self.objects.is_none() {
            return Err(
                "policy, objects: set policy.directory, or objects for those of the cluster, or nothing can be allowed"
                    .into(),
            );
        }
        if self.authentication.service_accounts.is_none() && self.authentication.oidc.is_empty() {
            return Err("authentication: name at least one of serviceAccounts and oidc, or no agent can call".into());
        }
        for (index, issuer) in self.authentication.oidc.iter().enumerate() {
            check_path_segment(&format!("authentication.oidc[{index}].name"), &issuer.name)?;
            if issuer.audiences.is_empty() {
                return Err(format!(
                    "authentication.oidc[{index}].audiences: must not be empty"
                ));
            }
        }
        if self.recording.wal.segment_size.0 < WalConfig::LEAST_SEGMENT_SIZE.0 {
            return Err(format!(
                "recording.wal.segmentSize: {} is too small for one row; choose at least {}",
                self.recording.wal.segment_size,
                WalConfig::LEAST_SEGMENT_SIZE
            ));
        }
        self.decoys.check(self.objects.is_some())?;
        if self.upgrades.idle.0.is_zero() {
            return Err(
                "upgrades.idle: must be longer than 0, or every session ends at once".into(),
            );
        }
        let share = &self.limits.per_principal;
        if share.buffered_bytes.0 < 1 << 20 || share.buffered_bytes > self.limits.buffered_bytes {
            return Err(format!(
                "limits.perPrincipal.bufferedBytes: {} is not between 1MiB, which one recorded answer may take, and \
                 limits.bufferedBytes",
                share.buffered_bytes
            ));
        }
        if share.calls == 0 || share.record_bytes_per_second.0 == 0 {
            return Err("limits.perPrincipal: with 0 every call is refused".into());
        }
        if self.recording.wal.segment_size.0 * 4 > self.recording.wal.limit.0 {
            return Err(format!(
                "recording.wal.limit: {} holds fewer than four segments of {}; raise it or lower segmentSize",
                self.recording.wal.limit, self.recording.wal.segment_size
            ));
        }
        self.recording.store.check()
    }

    fn check_entries(&self) -> Result<(), String> {
        if self.explicit.is_none() && self.capture.is_none() {
            return Err("explicit, capture: name at least one, or no agent can come in".into());
        }
        if self.capture.is_some() && self.authentication.service_accounts.is_none() {
            return Err(
                "capture: needs authentication.serviceAccounts, since pods come with ServiceAccount tokens".into(),
            );
        }
        match &self.tls {
            Tls::Authority { names, .. } if names.is_empty() && self.explicit.is_some() => Err(
                "tls.authority.names: say under which names and addresses agents reach explicit.listen".into(),
            ),
            _ => Ok(()),
        }
    }

    fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        self.tls.resolve(base);
        self.control.iter_mut().for_each(|control| {
            control.tls.resolve(base);
            join(&mut control.client_ca_file);
        });
        self.capture
            .iter_mut()
            .for_each(|capture| join(&mut capture.socket));
        let issuers = &mut self.authentication.oidc;
        let optional = [
            &mut self.upstream.kubeconfig,
            &mut self.recording.policy_file,
        ]
        .into_iter()
        .chain(
            self.authentication
                .service_accounts
                .as_mut()
                .map(|accounts| &mut accounts.jwks_file),
        )
        .chain(
            issuers
                .iter_mut()
                .flat_map(|issuer| [&mut issuer.jwks_file, &mut issuer.ca_file]),
        );
        optional.flatten().for_each(join);
        let directories = self.agents.iter_mut().chain(&mut self.policy);
        directories.for_each(|listed| join(&mut listed.directory));
        join(&mut self.recording.wal.directory);
        self.recording.store.resolve(base);
        join(&mut self.masking.key_file);
    }
}

/// What is wrong with a YAML text, where, and the lines around it, for a message that begins with the file's name.
pub fn yaml_problem(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let lines = text.strip_prefix("error: ").unwrap_or(&text).lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("--> <input>"));
    // Behind the mark stands once more what the first line says.
    let marked = lines.map(|line| match line.rfind('^') {
        Some(at) if line.trim_start().starts_with('|') => &line[..=at],
        _ => line,
    });
    marked.collect::<Vec<_>>().join("\n")
}

/// The value becomes part of user names and of object-store paths.
fn check_path_segment(field: &str, value: &str) -> Result<(), String> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    if !value.is_empty() && value.len() <= 63 && value.bytes().all(plain) && !value.starts_with('.')
    {
        return Ok(());
    }
    Err(format!(
        "{field}: {value:?} must be 1 to 63 of a-z, 0-9, '-' and '.', and not start with '.'"
    ))
}

#[cfg(test)]
mod tests;
