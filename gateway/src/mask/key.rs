//! The masking key, and what is made with it: placeholders for values, digests of bodies.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    detectors::{self, Detectors, OwnDetector, Unusable},
    fields::{self, Selected, SensitiveFields, UnusableFields},
    rule::Rule,
    value::{Encoding, ValueDigest},
};
use crate::{config, hex};

const KEY_BYTES: usize = 32;
const REMEDY: &str =
    "make one with `head -c 32 /dev/urandom | base64`, readable by its owner alone (mode 0600)";

/// Equal values get equal placeholders under one key, and nobody without the key can test a guess.
///
/// Each use has a key of its own, derived from the file's: otherwise a body that is nothing but a
/// secret value would have a digest that begins like the value's placeholder.
#[derive(Clone)]
pub struct Key {
    id: String,
    values: hmac::Key,
    bodies: hmac::Key,
    secrets: hmac::Key,
    views: hmac::Key,
    /// What is looked for, to be replaced with this key's placeholders.
    in_force: Arc<InForce>,
}

/// What is looked for now: the built-in detectors, and the detectors and fields of the configuration and of the
/// policies in force.
struct InForce {
    detectors: Vec<OwnDetector>,
    fields: Vec<SensitiveFields>,
    all: RwLock<All>,
}

#[derive(Clone)]
struct All {
    detectors: Arc<Detectors>,
    fields: Arc<[SensitiveFields]>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Detector(#[from] Unusable),
    #[error(transparent)]
    Fields(#[from] UnusableFields),
    #[error("cannot read masking.keyFile {}; {REMEDY}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("masking.keyFile {} can be read by others than its owner (mode {mode:04o}); run `chmod 600` on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("masking.keyFile {} does not hold 32 bytes in base64; {REMEDY}", path.display())]
    NotAKey { path: PathBuf },
}

impl Key {
    /// The key, the detectors and the fields of a configuration.
    pub fn configured(masking: &config::Masking) -> Result<Self, KeyError> {
        let detectors = detectors::configured(&masking.detectors)?;
        let fields = fields::configured(&masking.sensitive_fields)?;
        Ok(Self {
            in_force: InForce::new(detectors, fields),
            ..Self::from_file(&masking.key_file)?
        })
    }

    /// Reads 32 random bytes, written in base64, from a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        check_mode(path, &file.metadata().map_err(unreadable)?)?;
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        file.take(256).read_to_end(&mut text).map_err(unreadable)?;
        let bytes = Zeroizing::new(STANDARD.decode(text.trim_ascii()).unwrap_or_default());
        let bytes =
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| KeyError::NotAKey {
                path: path.to_owned(),
            })?;
        Ok(Self::from_bytes(bytes))
    }

    pub fn from_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        let mut named = digest::Context::new(&digest::SHA256);
        named.update(b"sallyport masking key id\0");
        named.update(&bytes);
        let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        bytes.zeroize();
        Self {
            id: hex::encode(&named.finish().as_ref()[..4]),
            values: derived(&root, b"sallyport values"),
            bodies: derived(&root, b"sallyport bodies"),
            secrets: derived(&root, b"sallyport secrets"),
            views: derived(&root, b"sallyport views"),
            in_force: InForce::new(Vec::new(), Vec::new()),
        }
    }

    /// Eight hexadecimal digits that name the key and say nothing about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `masked:<key id>:<32 hex>` for a value in plain form.
    pub fn placeholder(&self, value: &[u8]) -> String {
        self.placeholder_of(value, Encoding::Plain)
    }

    /// The placeholder of a value of `Secret.data`: the same as for `stringData` with the decoded value.
    pub fn placeholder_base64(&self, value: &[u8]) -> String {
        self.placeholder_of(value, Encoding::Base64)
    }

    /// For an agent's eyes: another one where the same value stands elsewhere.
    pub(super) fn placeholder_at(&self, path: &[u8], value: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.views);
        for part in [b"at a path", path, value] {
            update_part(&mut context, part);
        }
        self.placeholder_from(context.sign().as_ref())
    }

    /// Starts a digest of a body as it passes.
    pub fn digest(&self) -> Digest {
        Digest {
            id: self.id.clone(),
            context: hmac::Context::with_key(&self.bodies),
        }
    }

    /// From now on these are looked for, beside what is built in or configured, by every user of this key.
    pub fn look_for(&self, detectors: &[OwnDetector], fields: &[SensitiveFields]) {
        let in_force = &self.in_force;
        let all = All::of(
            &[&in_force.detectors, detectors].concat(),
            &[&in_force.fields, fields].concat(),
        );
        *in_force.all.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(super) fn detectors(&self) -> Arc<Detectors> {
        self.all(|all| Arc::clone(&all.detectors))
    }

    /// What is hidden by its place in the bodies that `rule` is for.
    pub(super) fn fields(&self, rule: &Rule) -> Option<Selected> {
        Selected::new(&self.all(|all| Arc::clone(&all.fields)), rule)
    }

    fn all<T>(&self, part: impl FnOnce(&All) -> T) -> T {
        let all = self.in_force.all.read();
        part(&all.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn value_digest(&self, encoding: Encoding) -> ValueDigest {
        ValueDigest::new(hmac::Context::with_key(&self.values), encoding)
    }

    /// How every placeholder of this key begins.
    pub(super) fn marker(&self) -> String {
        ["masked:", &self.id, ":"].concat()
    }

    /// A key for what one reader sees.
    pub(super) fn of_view(&self, parts: &[&[u8]]) -> hmac::Key {
        let mut context = hmac::Context::with_key(&self.views);
        parts
            .iter()
            .for_each(|part| update_part(&mut context, part));
        hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref())
    }

    pub(super) fn placeholder_from(&self, digest: &[u8]) -> String {
        self.marker() + &hex::encode(&digest[..16])
    }

    /// One member's part in a Secret's digest; the parts are added, so order does not matter.
    pub(super) fn member(&self, name: &[u8], value: &[u8]) -> u128 {
        let mut context = hmac::Context::with_key(&self.secrets);
        context.update(value);
        context.update(name);
        let mut part = [0; 16];
        part.copy_from_slice(&context.sign().as_ref()[..16]);
        u128::from_be_bytes(part)
    }

    pub(super) fn secret_digest(&self, members: u128) -> String {
        labelled(
            &self.id,
            hmac::sign(&self.secrets, &members.to_be_bytes()).as_ref(),
        )
    }

    fn placeholder_of(&self, value: &[u8], encoding: Encoding) -> String {
        let mut digest = self.value_digest(encoding);
        digest.update(value);
        self.placeholder_from(digest.finish().as_ref())
    }
}

impl InForce {
    fn new(detectors: Vec<OwnDetector>, fields: Vec<SensitiveFields>) -> Arc<Self> {
        let all = RwLock::new(All::of(&detectors, &fields));
        Arc::new(Self {
            detectors,
            fields,
            all,
        })
    }
}

impl All {
    fn of(detectors: &[OwnDetector], fields: &[SensitiveFields]) -> Self {
        Self {
            detectors: Detectors::with(detectors),
            fields: fields.into(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A keyed digest of a body, fed chunk by chunk.
pub struct Digest {
    id: String,
    context: hmac::Context,
}

impl Digest {
    pub fn update(&mut self, chunk: &[u8]) {
        self.context.update(chunk);
    }

    /// `hmac-sha256:<key id>:<64 hex>`.
    pub fn finish(self) -> String {
        labelled(&self.id, self.context.sign().as_ref())
    }
}

/// With its length before it, so that no two lists of parts are the same bytes.
pub(super) fn update_part(context: &mut hmac::Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

fn labelled(id: &str, digest: &[u8]) -> String {
    format!("hmac-sha256:{id}:{}", hex::encode(digest))
}

fn derived(root: &hmac::Key, label: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(root, label).as_ref())
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mode = metadata.permissions().mode() & 0o7777;
    // A kubelet mounts Secrets as root's, readable by the pod's group.
    let mounted =
        metadata.uid() == 0 && metadata.gid() == nix::unistd::getegid().as_raw() && mode == 0o440;
    if mode & 0o077 == 0 || mounted {
        return Ok(());
    }
    Err(KeyError::Exposed {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests;
