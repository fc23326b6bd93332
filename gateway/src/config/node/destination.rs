//! A name under which the API server is known outside of the cluster.

use std::{fmt, net::IpAddr, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A DNS name in lower case, without the dot at its end, and a port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicName {
    host: String,
    port: NonZeroU16,
}

impl PublicName {
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port.get()
    }
}

impl FromStr for PublicName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unlike = || format!("{text:?} is not a name with a port: write api.example.com:443");
        let (host, port) = text.rsplit_once(':').ok_or_else(unlike)?;
        let port = port.parse().map_err(|_| unlike())?;
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(format!("{text:?} is an address: write it under addresses"));
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(unlike());
        }
        Ok(Self { host, port })
    }
}

/// RFC 1123, section 2.1.
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let edges = !label.starts_with('-') && !label.ends_with('-');
    (1..=63).contains(&label.len()) && label.bytes().all(plain) && edges
}

impl fmt::Display for PublicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl<'de> Deserialize<'de> for PublicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
