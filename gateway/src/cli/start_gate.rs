//! `sallyport start-gate`: an init container that lets a pod's other containers start only once its connections to
//! the API server lead to the gateway.
//!
//! The proof is one handshake, as an in-cluster client makes it: to `KUBERNETES_SERVICE_HOST`, trusting the mounted CA
//! alone, with a protocol that only a gateway agrees to. No request is made, so nothing is recorded.

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustls::{AlertDescription, ClientConfig, ClientConnection, pki_types::ServerName};

use crate::{
    config::HumanDuration,
    tls::{START_GATE, TlsError, start_gate_client},
};

const PAUSE: Duration = Duration::from_millis(250);
/// For one attempt to connect, and for each answer within the handshake.
const ATTEMPT: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// How long to try.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = HumanDuration::from_str)]
    patience: HumanDuration,
    /// The CA that the pod's clients trust.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    )]
    certificate_authority: PathBuf,
}

/// Where the pod's clients find the API server: the kubelet sets these variables in every container.
struct Server {
    host: String,
    port: u16,
}

const AFTER_HELP: &str = "\
Ends with 0 as soon as a gateway answers, else with 1 and what was there instead.";

/// What was there instead of a gateway.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(
        "the mounted CA cannot be used: does the pod mount a ServiceAccount token with Sallyport's CA?"
    )]
    NoAuthority(#[source] TlsError),
    #[error("{host:?} cannot be resolved or certified")]
    BadHost {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "nobody accepts connections to {address}: the pod is redirected, but its gateway has no listener for it yet, or \
         the API server is away"
    )]
    Refused {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "{address} answers with a certificate of another CA than the mounted one: the connection is not redirected to \
         the gateway, or the mounted CA is not Sallyport's"
    )]
    OtherAuthority {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "{address} is no Sallyport gateway, but the API server itself, or another server: the connection is not \
         redirected. Does `sallyport node` run on this node, and is this pod's namespace labelled sallyport.dev/agents?"
    )]
    NoGateway { address: SocketAddr },
    #[error("the handshake with {address} broke off")]
    Broken {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let server = Server::from_env()?;
    let deadline = Instant::now() + args.patience.0;
    loop {
        let not_yet = match pass(args, &server) {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(not_yet) => not_yet,
        };
        if Instant::now() + PAUSE > deadline {
            let seconds = args.patience.0.as_secs();
            return Err(not_yet)
                .with_context(|| format!("the start gate stays shut after {seconds} s"));
        }
        std::thread::sleep(PAUSE);
    }
}

impl Server {
    fn from_env() -> anyhow::Result<Self> {
        let variable = |name| {
            std::env::var(name).with_context(|| format!("{name} is not set: is this a pod?"))
        };
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        Ok(Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: port
                .parse()
                .with_context(|| format!("KUBERNETES_SERVICE_PORT: {port:?} is no port"))?,
        })
    }
}

fn pass(args: &Args, server: &Server) -> Result<(), NotYet> {
    let tls = start_gate_client(&args.certificate_authority).map_err(NotYet::NoAuthority)?;
    let bad_host = |source| NotYet::BadHost {
        host: server.host.clone(),
        source,
    };
    let name = ServerName::try_from(server.host.clone());
    let name = name.map_err(|error| bad_host(io::Error::other(error)))?;
    let mut addresses = (server.host.as_str(), server.port)
        .to_socket_addrs()
        .map_err(bad_host)?;
    let address = addresses
        .next()
        .ok_or_else(|| bad_host(io::ErrorKind::NotFound.into()))?;
    greet(address, name, tls)
}

fn greet(address: SocketAddr, name: ServerName<'static>, tls: ClientConfig) -> Result<(), NotYet> {
    let mut stream = TcpStream::connect_timeout(&address, ATTEMPT)
        .map_err(|source| NotYet::Refused { address, source })?;
    let broken = |source| NotYet::Broken { address, source };
    stream.set_read_timeout(Some(ATTEMPT)).map_err(broken)?;
    stream.set_write_timeout(Some(ATTEMPT)).map_err(broken)?;
    let mut client = ClientConnection::new(Arc::new(tls), name)
        .map_err(|error| broken(io::Error::other(error)))?;
    while client.is_handshaking() {
        client
            .complete_io(&mut stream)
            .map_err(|source| failed(address, source))?;
    }
    match client.alpn_protocol() {
        Some(START_GATE) => Ok(()),
        _ => Err(NotYet::NoGateway { address }),
    }
}

fn failed(address: SocketAddr, source: io::Error) -> NotYet {
    let tls = source.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => NotYet::OtherAuthority { address, source },
        // An API server refuses a protocol that it does not know before it shows its certificate.
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            NotYet::NoGateway { address }
        }
        _ => NotYet::Broken { address, source },
    }
}
