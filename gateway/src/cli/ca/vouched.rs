//! What an intermediate vouches for: the names and addresses of one API server.

use std::{collections::BTreeSet, fmt, net::IpAddr, path::Path, str::FromStr};

use anyhow::{Context, anyhow, bail, ensure};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// What the API server is called, and where it is.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) names: Vec<String>,
    pub(super) networks: Vec<Network>,
}

impl Vouched {
    /// By an intermediate, if there is one.
    pub(super) fn by(path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let reading = || format!("reading what {} vouches for", path.display());
        let der = CertificateDer::from_pem_file(path).with_context(reading)?;
        let (_, certificate) = X509Certificate::from_der(&der).with_context(reading)?;
        let constraints = certificate.name_constraints().with_context(reading)?;
        let permitted = constraints
            .and_then(|constraints| constraints.value.permitted_subtrees.as_deref())
            .unwrap_or_default();
        let mut vouched = Self {
            names: Vec::new(),
            networks: Vec::new(),
        };
        for subtree in permitted {
            match &subtree.base {
                GeneralName::DNSName(name) => vouched.names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    vouched.networks.extend(Network::of_certificate(bytes));
                }
                _ => {}
            }
        }
        Ok(Some(vouched))
    }

    /// With a list for names and one for addresses: a kind without a list would not be constrained at all.
    pub(super) fn constraints(&self) -> NameConstraints {
        let names = self.names.iter().cloned().map(GeneralSubtree::DnsName);
        let networks = self.networks.iter();
        let addresses = networks.map(|network| GeneralSubtree::IpAddress(network.0));
        NameConstraints {
            permitted_subtrees: names.chain(addresses).collect(),
            excluded_subtrees: Vec::new(),
        }
    }

    /// A line for what came, and one for what went.
    pub(super) fn changes(&self, old: Option<&Self>) -> String {
        let (old, new) = (old.map(Self::words).unwrap_or_default(), self.words());
        let line = |what: &str, these: Vec<&String>| match &these[..] {
            [] => String::new(),
            these => {
                let these: Vec<_> = these.iter().map(|one| one.as_str()).collect();
                format!("It vouches {what} {}.\n", these.join(", "))
            }
        };
        line("for the first time for", new.difference(&old).collect())
            + &line("no longer for", old.difference(&new).collect())
    }

    fn words(&self) -> BTreeSet<String> {
        let networks = self.networks.iter().map(Network::to_string);
        self.names.iter().cloned().chain(networks).collect()
    }
}

pub(super) fn names(domain: &str, others: &[String]) -> anyhow::Result<Vec<String>> {
    let domain = dns_name(domain)?;
    let mut names = vec![
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{domain}"),
    ];
    for name in others {
        names.push(dns_name(name)?.to_owned());
    }
    Ok(names)
}

fn dns_name(name: &str) -> anyhow::Result<&str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    ensure!(
        name.len() <= 253 && name.split('.').all(label),
        "{name:?} is not a DNS name: write it in lower case, as api.prod.example"
    );
    Ok(name)
}

/// One address or a range of them.
#[derive(Clone, Debug)]
pub(super) struct Network(CidrSubnet);

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let wrong = || anyhow!("{text:?} is neither an address nor a range as 10.96.0.0/12");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = match length {
            Some(length) => length.parse().map_err(|_| wrong())?,
            None => most,
        };
        if length > most {
            bail!(wrong());
        }
        // Whoever holds the intermediate could otherwise be any server at all.
        if length < most / 4 {
            bail!("{text:?} is too wide; the authority shall vouch for the API server alone");
        }
        Ok(Self(CidrSubnet::from_addr_prefix(address, length)))
    }
}

impl Network {
    /// An address and its mask.
    fn of_certificate(bytes: &[u8]) -> Option<Self> {
        let (address, mask) = bytes.split_at(bytes.len() / 2);
        let v4 = || {
            Some(CidrSubnet::V4(
                address.try_into().ok()?,
                mask.try_into().ok()?,
            ))
        };
        let v6 = || {
            Some(CidrSubnet::V6(
                address.try_into().ok()?,
                mask.try_into().ok()?,
            ))
        };
        v4().or_else(v6).map(Self)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, most, length) = match &self.0 {
            CidrSubnet::V4(address, mask) => {
                let length = u32::from_be_bytes(*mask).leading_ones();
                (IpAddr::from(*address), 32, length)
            }
            CidrSubnet::V6(address, mask) => {
                let length = u128::from_be_bytes(*mask).leading_ones();
                (IpAddr::from(*address), 128, length)
            }
        };
        match length == most {
            true => write!(f, "{address}"),
            false => write!(f, "{address}/{length}"),
        }
    }
}
