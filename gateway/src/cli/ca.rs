//! `sallyport ca`: the authority of the certificates that the gateway shows to agents, and that of the controller.
//!
//! Agents' pods trust a root whose key never enters the cluster. The gateway issues with an intermediate that can
//! vouch for the API server's names and addresses and for nothing else, so whoever takes it cannot pretend to agents
//! to be anyone else. It is made anew from the root as often as one likes, and no agent notices.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use self::vouched::{Network, Vouched, names};
use super::output::say;

mod control;
mod vouched;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Make a root and an issuing intermediate in a directory.
    #[command(after_help = CREATE_HELP)]
    Create(Args),
    /// Make another intermediate from the root in a directory: the old one ends, or other names are needed.
    #[command(after_help = RENEW_HELP)]
    Renew(Renewal),
    /// Make the certificates by which the controller and the gateways know each other.
    #[command(after_help = control::HELP)]
    Control(control::Args),
}

const CREATE_HELP: &str = "\
Example:
  sallyport ca create --directory ca --service-cidr 10.96.0.0/12 --address 192.0.2.10 --name api.prod.example

--address and --name are the ways to the API server that agents' clients can take besides the ClusterIP: its
endpoints, a load balancer, a public name, another Service that leads there.";

const RENEW_HELP: &str = "\
Example:
  sallyport ca renew --directory ca

It vouches for the names and addresses of the intermediate in the directory. --name and --cluster-domain say all names \
anew, --service-cidr and --address all addresses; what comes and what goes is printed. Agents refuse the gateway at what \
goes.";

#[derive(clap::Args, Debug)]
pub(super) struct Renewal {
    /// Where the files of `sallyport ca create` are.
    #[arg(long)]
    directory: PathBuf,
    /// The cluster's range of Service addresses; twice where there is one for IPv6.
    #[arg(long, value_name = "CIDR")]
    service_cidr: Vec<Network>,
    /// Another address, or range of them, of the API server.
    #[arg(long, value_name = "ADDRESS", requires = "service_cidr")]
    address: Vec<Network>,
    /// Another name of the API server; names below it are vouched for as well.
    #[arg(long, value_name = "DNS-NAME")]
    name: Vec<String>,
    /// The domain of the cluster's Services.
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
}

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where the files are; made if missing.
    #[arg(long)]
    directory: PathBuf,
    /// The cluster's range of Service addresses; twice where there is one for IPv6.
    #[arg(long, value_name = "CIDR", required = true)]
    service_cidr: Vec<Network>,
    /// Another address, or range of them, of the API server.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<Network>,
    /// Another name of the API server; names below it are vouched for as well.
    #[arg(long, value_name = "DNS-NAME")]
    name: Vec<String>,
    /// The domain of the cluster's Services.
    #[arg(long, value_name = "DOMAIN", default_value = CLUSTER_DOMAIN)]
    cluster_domain: String,
}

const CLUSTER_DOMAIN: &str = "cluster.local";

const ROOT_CERTIFICATE: &str = "ca.crt";
const ROOT_KEY: &str = "ca.key";
const ISSUER_CERTIFICATE: &str = "issuer.crt";
const ISSUER_KEY: &str = "issuer.key";

const ISSUER_NAME: &str = "sallyport issuer";

const ROOT_DAYS: u32 = 3653;
const ISSUER_DAYS: u32 = 731;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(args) => create(&args)?,
        Command::Renew(args) => renew(&args)?,
        Command::Control(args) => control::create(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &Args) -> anyhow::Result<()> {
    let vouched = Vouched {
        names: names(&args.cluster_domain, &args.name)?,
        networks: [&args.service_cidr[..], &args.address].concat(),
    };
    for name in [ROOT_CERTIFICATE, ROOT_KEY, ISSUER_CERTIFICATE, ISSUER_KEY] {
        let path = args.directory.join(name);
        ensure!(
            !path.exists(),
            "{} exists; choose another directory, or make another intermediate with `sallyport ca renew`",
            path.display()
        );
    }
    fs::create_dir_all(&args.directory)
        .with_context(|| format!("making {}", args.directory.display()))?;
    let key = KeyPair::generate()?;
    let root = root()?.self_signed(&key)?;
    let (issuer, issuer_key) = issue(&key, &vouched)?;
    write(&args.directory, ROOT_KEY, &key.serialize_pem(), 0o600)?;
    write(&args.directory, ROOT_CERTIFICATE, &root.pem(), 0o644)?;
    write(&args.directory, ISSUER_KEY, &issuer_key, 0o600)?;
    write(&args.directory, ISSUER_CERTIFICATE, &issuer, 0o644)?;
    say!("{}", next(&args.directory));
    Ok(())
}

/// The old intermediate stays beside the new one, under its name with `.old`.
fn renew(args: &Renewal) -> anyhow::Result<()> {
    let old = Vouched::by(&args.directory.join(ISSUER_CERTIFICATE))?;
    let new = args.vouched(old.as_ref())?;
    let path = args.directory.join(ROOT_KEY);
    let key = PrivateKeyDer::from_pem_file(&path)
        .with_context(|| format!("reading the root's key {}", path.display()))?;
    let (issuer, issuer_key) = issue(&KeyPair::try_from(&key)?, &new)?;
    for name in [ISSUER_CERTIFICATE, ISSUER_KEY] {
        keep_old(&args.directory.join(name))?;
    }
    write(&args.directory, ISSUER_KEY, &issuer_key, 0o600)?;
    write(&args.directory, ISSUER_CERTIFICATE, &issuer, 0o644)?;
    say!(
        "wrote another intermediate to {directory}; the one before, if any, is in {ISSUER_CERTIFICATE}.old and \
         {ISSUER_KEY}.old.\n{changes}Replace the Secret, which the gateways read again:\n\n  \
         kubectl -n sallyport-system create secret tls sallyport-issuer \\\n    --cert {directory}/{ISSUER_CERTIFICATE} \
         --key {directory}/{ISSUER_KEY} \\\n    --dry-run=client -o yaml | kubectl replace -f -",
        directory = args.directory.display(),
        changes = new.changes(old.as_ref())
    );
    Ok(())
}

impl Renewal {
    fn vouched(&self, old: Option<&Vouched>) -> anyhow::Result<Vouched> {
        let domain = self.cluster_domain.as_deref();
        let names = match old {
            Some(old) if self.name.is_empty() && domain.is_none() => old.names.clone(),
            _ => names(domain.unwrap_or(CLUSTER_DOMAIN), &self.name)?,
        };
        let networks = match old {
            Some(old) if self.service_cidr.is_empty() => old.networks.clone(),
            _ => [&self.service_cidr[..], &self.address].concat(),
        };
        ensure!(
            !networks.is_empty(),
            "{} has no {ISSUER_CERTIFICATE} that says which addresses the next one vouches for; give --service-cidr, and \
             --address and --name as they were",
            self.directory.display()
        );
        Ok(Vouched { names, networks })
    }
}

fn keep_old(path: &Path) -> anyhow::Result<()> {
    let mut old = path.to_owned().into_os_string();
    old.push(".old");
    match fs::rename(path, &old) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("keeping {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The same each time but for its dates: the subject and the key identify the issuer of an intermediate.
fn root() -> anyhow::Result<CertificateParams> {
    let mut params = authority("sallyport root CA", ROOT_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    Ok(params)
}

/// An intermediate and its key, PEM.
fn issue(root_key: &KeyPair, vouched: &Vouched) -> anyhow::Result<(String, String)> {
    let mut params = authority(ISSUER_NAME, ISSUER_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.name_constraints = Some(vouched.constraints());
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::new(root()?, root_key))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn authority(name: &str, days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Nodes whose clock is behind trust it too.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(HOUR);
    params.not_after = epoch + now + days * DAY;
    Ok(params)
}

/// The key goes by the mode it has from the moment it exists.
fn write(directory: &Path, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let path = directory.join(name);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    file.with_context(|| format!("writing {}", path.display()))
}

fn next(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "wrote to {directory}
  {ROOT_CERTIFICATE}      what agents trust, for ten years
  {ROOT_KEY}      the root's key: it belongs in a safe, not in the cluster
  {ISSUER_CERTIFICATE}  the intermediate that gateways issue with, for two years
  {ISSUER_KEY}  its key

1. Give the gateways the intermediate:

  kubectl -n sallyport-system create secret tls sallyport-issuer \\
    --cert {directory}/{ISSUER_CERTIFICATE} --key {directory}/{ISSUER_KEY}

2. Take {ROOT_KEY} offline, and {ISSUER_KEY} away once the Secret exists.

3. Make namespaces agents' namespaces, which puts the root into them:

  sallyport agents enforce NAMESPACE --ca-file {directory}/{ROOT_CERTIFICATE}"
    )
}

#[cfg(test)]
mod tests;
