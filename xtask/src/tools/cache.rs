//! The cache: `<root>/<tool>/<version>`, each directory whole or absent.

use std::{
    env, fs,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::progress;

/// `SALLYPORT_CACHE`, else `$XDG_CACHE_HOME/sallyport`, else `~/.cache/sallyport`.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn open() -> Result<Self> {
        let root = location()
            .context("HOME is not set: set SALLYPORT_CACHE to a directory for downloaded tools")?;
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the cache {}", root.display()))?;
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of `tool` at `version`, filled by `fill` if it is not there yet.
    ///
    /// `fill` gets a fresh directory beside the final one; the rename happens only after it succeeded, so an
    /// interrupted run leaves nothing that looks finished. A lock per tool keeps concurrent runs apart.
    pub(crate) fn ensure(
        &self,
        tool: &str,
        version: &str,
        what: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let finished = self.root.join(tool).join(version);
        if finished.is_dir() {
            return Ok(finished);
        }
        let _lock = self.lock(tool)?;
        if finished.is_dir() {
            return Ok(finished);
        }
        let partial = self.root.join(tool).join(format!(".partial-{version}"));
        empty(&partial)?;
        progress::step(what, || fill(&partial))?;
        fs::rename(&partial, &finished)
            .with_context(|| format!("cannot move {} into place", finished.display()))?;
        Ok(finished)
    }

    /// Holds the lock of `tool` until the file is dropped; the kernel lets go of it when a process dies.
    fn lock(&self, tool: &str) -> Result<File> {
        let directory = self.root.join(tool);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(".lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress::step(
                    format!("waiting for another run that prepares {tool}"),
                    || Ok(file.lock()?),
                )?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", path.display()));
            }
        }
        Ok(file)
    }
}

fn location() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("SALLYPORT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("sallyport")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/sallyport")))
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// A short name for the contents of every file under `directory`: the key of what is built from them.
pub(crate) fn digest(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut state = Fnv::default();
    for path in files {
        let name = path
            .strip_prefix(directory)
            .expect("collected under this directory");
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        state.field(name.as_os_str().as_encoded_bytes());
        state.field(&content);
    }
    Ok(state.finish())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("node_modules") {
                collect(&path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a, 64 bits: it tells versions of our own files apart and guards nothing.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds one value, with its length so that neighbours cannot run into each other.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn finish(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests;
