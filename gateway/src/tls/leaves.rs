//! Which certificate a connection is shown. The listener decides, never the name that the client sends (SNI): a
//! client that connects to an address sends none.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    START_GATE, TlsError,
    authority::{Authority, Leaf, certified},
    local, provider, read_chain, unreadable,
};
use crate::config::Tls;

/// Where certificates come from; what servers show follows it. Cheap to clone.
#[derive(Clone)]
pub struct Leaves(Arc<Inner>);

struct Inner {
    source: RwLock<Arc<Source>>,
    /// Destinations are few, and every pod has a listener for each: they share what is shown.
    destinations: Mutex<HashMap<Vec<String>, Weak<ServerConfig>>>,
}

enum Source {
    Authority(Box<Authority>),
    Fixed(Arc<CertifiedKey>),
}

/// What one server shows, made anew when half of its time is over or its issuer has changed.
struct Shown {
    names: Vec<String>,
    leaves: Leaves,
    current: Mutex<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    from: Arc<Source>,
    renew: Option<SystemTime>,
}

impl Leaves {
    pub fn load(tls: &Tls) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Inner {
            source: RwLock::new(Arc::new(Source::load(tls)?)),
            destinations: Mutex::default(),
        })))
    }

    /// Reads the files again. Servers show what is new from the next connection on.
    pub fn reload(&self, tls: &Tls) -> Result<(), TlsError> {
        let source = Arc::new(Source::load(tls)?);
        let mut current = self
            .0
            .source
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = source;
        Ok(())
    }

    /// The configuration of the explicit listener: HTTP/2 and HTTP/1.1, as the client chooses.
    pub fn explicit(&self, tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
        self.server(configured(tls).to_vec(), &[])
    }

    /// Likewise, of a server that clients know as `name` too.
    pub(super) fn named(&self, tls: &Tls, name: &str) -> Result<Arc<ServerConfig>, TlsError> {
        let mut names = configured(tls).to_vec();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        self.server(names, &[])
    }

    /// That of a listener for connections to `address`, which clients also know as `names`.
    pub fn destination(
        &self,
        address: SocketAddr,
        names: &[String],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let names: BTreeSet<String> = names
            .iter()
            .cloned()
            .chain([address.ip().to_canonical().to_string()])
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        let mut destinations = lock(&self.0.destinations);
        if let Some(server) = destinations.get(&names).and_then(Weak::upgrade) {
            return Ok(server);
        }
        let server = self.server(names.clone(), &[START_GATE])?;
        destinations.retain(|_, server| server.strong_count() > 0);
        destinations.insert(names, Arc::downgrade(&server));
        Ok(server)
    }

    fn server(
        &self,
        names: Vec<String>,
        more_protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let shown = Shown {
            current: Mutex::new(self.source().current(&names)?),
            names,
            leaves: self.clone(),
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Mismatch)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let protocols = [&[&b"h2"[..], b"http/1.1"], more_protocols].concat();
        config.alpn_protocols = protocols.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Arc::new(config))
    }

    fn source(&self) -> Arc<Source> {
        let source = self.0.source.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&source)
    }
}

fn configured(tls: &Tls) -> &[String] {
    match tls {
        Tls::Local { names, .. } | Tls::Authority { names, .. } => names,
        Tls::Files { .. } => &[],
    }
}

impl Source {
    fn load(tls: &Tls) -> Result<Self, TlsError> {
        Ok(match tls {
            Tls::Local { directory, .. } => Self::Authority(Box::new(local::authority(directory)?)),
            Tls::Authority {
                cert_file,
                key_file,
                chain_file,
                ..
            } => {
                let authority = Authority::open(cert_file, key_file, chain_file.as_deref())?;
                Self::Authority(Box::new(authority))
            }
            Tls::Files {
                cert_file,
                key_file,
            } => {
                let chain = read_chain(cert_file)?;
                let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?;
                Self::Fixed(certified(chain, key)?)
            }
        })
    }

    fn current(self: Arc<Self>, names: &[String]) -> Result<Current, TlsError> {
        let (key, renew) = match &*self {
            Self::Fixed(key) => (Arc::clone(key), None),
            Self::Authority(authority) => {
                let Leaf { key, renew } = authority.issue(names)?;
                (key, Some(renew))
            }
        };
        Ok(Current {
            key,
            from: self,
            renew,
        })
    }
}

impl Current {
    fn holds(&self, source: &Arc<Source>) -> bool {
        Arc::ptr_eq(&self.from, source) && self.renew.is_none_or(|renew| SystemTime::now() < renew)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let source = self.leaves.source();
        let mut current = lock(&self.current);
        if !current.holds(&source) {
            match source.current(&self.names) {
                Ok(new) => *current = new,
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    names = ?self.names,
                    "no new certificate, the last one stays"
                ),
            }
        }
        Some(Arc::clone(&current.key))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("names", &self.names).finish()
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
