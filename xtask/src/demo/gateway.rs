//! The gateway of the demo, with the configuration of `deploy/quickstart/gateway.yaml`.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{objects, site::Site};
use crate::{
    command::{ends_with_us, write},
    progress,
    service::Service,
    test::Environment,
    workspace,
};

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A gateway that serves; dropping it drains it.
pub(super) struct Gateway {
    address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) ca: PathBuf,
    _service: Service,
}

impl Gateway {
    /// With the node agent's socket it serves captured pods as well.
    pub(super) fn start(
        site: &Site,
        environment: &Environment,
        node_agent: Option<&Path>,
    ) -> Result<Self> {
        progress::step("starting the gateway", || {
            let config = configure(site, environment)?;
            if let Some(socket) = node_agent {
                serve_captured(&config, socket)?;
            }
            let mut gateway = ends_with_us(workspace::gateway());
            gateway
                .args(["gateway", "--log-format", "json", "--config"])
                .arg(config);
            let mut service = Service::start(&mut gateway, &site.path("gateway.log"))?;
            let address = service.wait_for(READY_WITHIN, |line| listening(line, "explicit"))?;
            let admin = service.wait_for(READY_WITHIN, |line| listening(line, "admin"))?;
            wait_until_ready(admin)?;
            Ok(Self {
                address,
                admin,
                ca: site.path("tls/ca.crt"),
                _service: service,
            })
        })
    }

    pub(super) fn server(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn configure(site: &Site, environment: &Environment) -> Result<PathBuf> {
    site.copy("agents")?;
    site.copy("policies")?;
    site.masking_key()?;
    let cluster = &environment.cluster;
    site.kubeconfig(
        "gateway",
        &cluster.server,
        &cluster.ca_file,
        &objects::gateway_token(environment)?,
    )?;
    site.fill(
        "gateway.yaml",
        &[
            ("SERVICE_ACCOUNT_ISSUER", &cluster.service_account_issuer),
            ("OIDC_ISSUER", &environment.issuer.issuer),
            (
                "OIDC_CA_FILE",
                &environment.issuer.ca_file.display().to_string(),
            ),
        ],
    )
}

fn serve_captured(config: &Path, socket: &Path) -> Result<()> {
    let capture = format!("capture:\n  socket: {}\n", socket.display());
    write(config, &(fs::read_to_string(config)? + &capture))
}

/// The address in a log line that says `listener` listens.
fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    let ours = fields["message"] == "listening" && fields["listener"] == listener;
    ours.then(|| fields["addr"].as_str()?.parse().ok())
        .flatten()
}

fn wait_until_ready(admin: SocketAddr) -> Result<()> {
    let started = Instant::now();
    while !is_ready(admin).unwrap_or(false) {
        if started.elapsed() > READY_WITHIN {
            bail!("http://{admin}/readyz does not answer 200");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn is_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(admin)?;
    connection
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::listening;

    #[test]
    fn the_address_is_read_from_the_line_of_its_listener() {
        let line = r#"{"level":"INFO","fields":{"message":"listening","listener":"explicit","addr":"127.0.0.1:4443"}}"#;
        assert_eq!(
            listening(line, "explicit"),
            Some("127.0.0.1:4443".parse().unwrap())
        );
        assert_eq!(listening(line, "admin"), None);
        assert_eq!(listening("not JSON", "admin"), None);
    }
}
