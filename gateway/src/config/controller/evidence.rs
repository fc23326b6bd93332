//! The listener for people who read the evidence, and the gateways that have it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::config::{Store, Tls, address};

/// Where people read what is recorded and end what runs, HTTPS alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Evidence {
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    pub tls: Tls,
    pub gateways: Gateways,
    /// The store that the gateways write. Where absent, people read what is live, and nothing that is finished.
    #[serde(default)]
    pub store: Option<Store>,
}

/// The gateways' `control` listeners.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Gateways {
    pub at: Places,
    /// What signs the gateways' certificates, which have the DNS name `gateway.sallyport.dev`.
    pub ca_file: PathBuf,
    /// Shown to gateways; its DNS name is `controller.sallyport.dev`.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug)]
pub enum Places {
    Pods(Pods),
    Addresses(Vec<SocketAddr>),
}

/// Every pod that has the labels is a gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pods {
    pub namespace: String,
    /// A label selector, as kubectl takes it.
    pub selector: String,
    pub port: u16,
}

/// As it is written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    pods: Option<Pods>,
    addresses: Option<Vec<SocketAddr>>,
    ca_file: PathBuf,
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl TryFrom<Written> for Gateways {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let at = match (written.pods, written.addresses) {
            (Some(pods), None) => Places::Pods(pods),
            (None, Some(addresses)) if !addresses.is_empty() => Places::Addresses(addresses),
            _ => return Err("write one of pods and addresses, with a gateway in it"),
        };
        Ok(Self {
            at,
            ca_file: written.ca_file,
            cert_file: written.cert_file,
            key_file: written.key_file,
        })
    }
}

impl Evidence {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Places::Pods(pods) = &self.gateways.at
            && (pods.namespace.is_empty() || pods.selector.is_empty() || pods.port == 0)
        {
            return Err(
                "evidence.gateways.pods: write namespace, selector and port; an empty selector would be every pod"
                    .into(),
            );
        }
        if let Some(store) = &self.store {
            store
                .check()
                .map_err(|problem| problem.replacen("recording.", "evidence.", 1))?;
        }
        match &self.tls {
            Tls::Authority { names, .. } if names.is_empty() => Err(
                "evidence.tls.authority.names: say under which names and addresses people reach evidence.listen".into(),
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        let gateways = &mut self.gateways;
        for path in [
            &mut gateways.ca_file,
            &mut gateways.cert_file,
            &mut gateways.key_file,
        ] {
            *path = base.join(&*path);
        }
        self.tls.resolve(base);
        if let Some(store) = &mut self.store {
            store.resolve(base);
        }
    }
}
