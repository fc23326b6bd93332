//! The real gateway binary, with a configuration and a directory of its own.

use std::{
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use self::settings::Settings;
use crate::{
    Output, Protocol, RawClient, Wire, clock, environment, process,
    server::{Launch, Server},
    wait::eventually,
};

mod settings;

/// Starting and draining on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// A running gateway; dropping it ends the process.
pub struct Gateway {
    directory: TempDir,
    binary: PathBuf,
    server: Server,
}

impl Gateway {
    pub fn start(settings: &Settings) -> Result<Self> {
        let binary = environment::file("SALLYPORT_TEST_GATEWAY")?;
        let directory = tempfile::Builder::new()
            .prefix("sallyport-gateway-")
            .tempdir()?;
        settings.write(directory.path())?;
        let listeners: &[_] = match settings.config.get("control") {
            Some(_) => &["explicit", "admin", "control"],
            None => &["explicit", "admin"],
        };
        let server = Server::start(Launch {
            binary: binary.clone(),
            directory: directory.path().to_owned(),
            subcommand: "gateway",
            config: "gateway.yaml",
            listeners,
            variables: clock::of(directory.path(), settings.clock)?,
        })?;
        server.wait_until_ready()?;
        Ok(Self {
            directory,
            binary,
            server,
        })
    }

    /// What `sallyport gateway --check` says of these settings.
    pub fn check(settings: &Settings) -> Result<Output> {
        let binary = environment::file("SALLYPORT_TEST_GATEWAY")?;
        let directory = tempfile::tempdir()?;
        settings.write(directory.path())?;
        process::run(
            Command::new(binary)
                .args(["gateway", "--check", "--config", "gateway.yaml"])
                .current_dir(directory.path()),
            &[],
        )
    }

    /// Where agents call.
    pub fn url(&self) -> String {
        format!("https://{}", self.server.address("explicit"))
    }

    /// The CA of the gateway's own certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.path("tls/ca.crt")
    }

    /// Where the controller calls.
    pub fn control(&self) -> SocketAddr {
        self.server.address("control")
    }

    /// A client of the control API, by the CA of the gateway's own certificate, and its certificate and key without
    /// their `.crt` and `.key`.
    pub fn control_client(&self, ca_file: &Path, client: &Path) -> Result<RawClient> {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let url = format!("https://{}", self.control());
        let (certificate, key) = (
            read(&client.with_extension("crt"))?,
            read(&client.with_extension("key"))?,
        );
        let identity = Some((&*certificate, &*key));
        RawClient::named(&url, "gateway.sallyport.dev", &read(ca_file)?, identity)
    }

    pub fn client(&self) -> Result<RawClient> {
        let ca_file = self.ca_file();
        let ca = fs::read(&ca_file).with_context(|| format!("reading {}", ca_file.display()))?;
        RawClient::new(&self.url(), &ca, None)
    }

    /// The requests of an agent with `token`.
    pub fn agent(&self, token: &str) -> Result<RawClient> {
        Ok(self.client()?.as_bearer(token))
    }

    /// An agent with `token`.
    pub fn wire(&self, protocol: Protocol, token: &str) -> Result<Wire> {
        let ca_file = self.ca_file();
        let ca = fs::read(&ca_file).with_context(|| format!("reading {}", ca_file.display()))?;
        let bearer = format!("Bearer {token}");
        Ok(Wire::new(protocol, &self.url(), &ca, None)?.with_header("authorization", &bearer))
    }

    /// A file or directory of this gateway: `policies`, `agents`, `wal`, `store`, `tls`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a policy where the gateway looks for it, as an editor would: whole, by rename.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        replace(&self.path("policies").join(name), text)
    }

    /// Sets the clock of a gateway that was started with one of its own.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        clock::set(self.directory.path(), seconds)
    }

    /// Replaces a file beside the configuration.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        replace(&self.path(name), text)
    }

    /// SIGHUP: read policies and agents again. Returns when what is there now counts.
    pub fn reload(&self) -> Result<()> {
        // The first may be told of a reload that began before.
        for _ in 0..2 {
            let before = self.reloads();
            self.signal(nix::sys::signal::SIGHUP)?;
            eventually("the reload by SIGHUP", LIMIT, || {
                Ok((self.reloads() > before).then_some(()))
            })?;
        }
        Ok(())
    }

    /// How often policies were read again without a fault.
    pub fn reloads(&self) -> usize {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| {
                line["fields"]["message"] == "reloaded" && line["fields"]["part"] == "policies"
            })
            .count()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let metrics = self.admin("/metrics")?;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .with_context(|| format!("no {name} in {metrics}"))?
            .parse()
            .context("not a number")
    }

    /// It has less in memory than `bytes` over what it had before.
    #[cfg(target_os = "linux")]
    pub fn grows_by_less_than(&self, before: u64, bytes: u64) -> Result<()> {
        let grown = self.resident_bytes()?.saturating_sub(before);
        ensure!(grown < bytes, "{grown} bytes more");
        Ok(())
    }

    /// Puts a file where the store was: nothing can be stored, not even by root.
    pub fn break_store(&self) -> Result<()> {
        fs::rename(self.path("store"), self.path("store.away"))?;
        Ok(fs::write(self.path("store"), "in the way")?)
    }

    /// Puts the store back.
    pub fn mend_store(&self) -> Result<()> {
        fs::remove_file(self.path("store"))?;
        Ok(fs::rename(self.path("store.away"), self.path("store"))?)
    }

    /// SIGTERM alone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(nix::sys::signal::SIGTERM)
    }

    /// Starts again on the same directory; the log goes on, the port is a new one.
    pub fn start_again(&mut self) -> Result<()> {
        self.begin_again()?;
        self.wait_until_ready()
    }

    /// Starts again, and may not be ready yet.
    pub fn begin_again(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// A command of the same binary.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        process::run(
            Command::new(&self.binary)
                .args(arguments)
                .current_dir(self.directory.path()),
            &[],
        )
    }

    /// The init container of a pod whose API server is at `address`.
    pub fn start_gate(
        &self,
        address: SocketAddr,
        ca_file: &Path,
        patience: &str,
    ) -> Result<Output> {
        process::run(
            Command::new(&self.binary)
                .args(["start-gate", "--patience", patience])
                .arg("--certificate-authority")
                .arg(ca_file)
                .env("KUBERNETES_SERVICE_HOST", address.ip().to_string())
                .env("KUBERNETES_SERVICE_PORT", address.port().to_string()),
            &[],
        )
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// What `sallyport audit list` answers of the write-ahead log alone.
    pub fn audit_list_of_log(&self) -> Result<Vec<Value>> {
        let nothing = tempfile::tempdir()?;
        let store = nothing.path().display().to_string();
        let list = [
            "audit", "list", "--wal", "wal", "-o", "json", "--limit", "0",
        ];
        let answer = self.command(&[&list[..], &["--store", &store]].concat())?;
        Ok(serde_json::from_str(&answer.success()?)?)
    }

    /// What `sallyport audit list -o json` answers: an array, newest last.
    pub fn audit_list(&self, filters: &[&str]) -> Result<Vec<Value>> {
        let list = [
            "audit",
            "list",
            "--config",
            "gateway.yaml",
            "-o",
            "json",
            "--limit",
            "0",
        ];
        let answer = self.command(&[&list, filters].concat())?.success()?;
        serde_json::from_str(&answer).with_context(|| format!("not an array of JSON: {answer}"))
    }
}

impl Deref for Gateway {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, text)?;
    fs::rename(&draft, path).with_context(|| format!("writing {}", path.display()))
}
