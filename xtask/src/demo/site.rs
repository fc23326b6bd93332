//! The demo's files: `deploy/quickstart` filled in, under `target/demo`.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    command::{capture, command, write},
    workspace,
};

/// A fresh directory that one demo at a time works in.
pub(super) struct Site {
    directory: PathBuf,
    _lock: File,
}

impl Site {
    pub(super) fn fresh() -> Result<Self> {
        let directory = workspace::target().join("demo");
        let lock = workspace::target().join("demo.lock");
        let lock =
            File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        if lock.try_lock().is_err() {
            bail!("another demo of this checkout is running");
        }
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Copies one directory of the quickstart.
    pub(super) fn copy(&self, name: &str) -> Result<()> {
        let source = quickstart(name);
        for entry in
            fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))?
        {
            let path = entry?.path();
            let file = path.file_name().context("a directory entry has a name")?;
            write(&self.path(name).join(file), &fs::read_to_string(&path)?)?;
        }
        Ok(())
    }

    /// Writes one file of the quickstart with every `${NAME}` replaced.
    pub(super) fn fill(&self, name: &str, values: &[(&str, &str)]) -> Result<PathBuf> {
        let (path, source) = (self.path(name), quickstart(name));
        let text = fs::read_to_string(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        let filled = values.iter().fold(text, |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        });
        write(&path, &filled)?;
        Ok(path)
    }

    /// Writes a kubeconfig that shows `token` to `server`.
    pub(super) fn kubeconfig(
        &self,
        name: &str,
        server: &str,
        ca: &Path,
        token: &str,
    ) -> Result<PathBuf> {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demo",
            "clusters": [{ "name": "demo", "cluster": { "server": server, "certificate-authority": ca } }],
            "users": [{ "name": name, "user": { "token": token } }],
            "contexts": [{ "name": "demo", "context": { "cluster": "demo", "user": name, "namespace": "sallyport-demo" } }],
        });
        let path = self.path(&format!("{name}.kubeconfig"));
        write_private(&path, &serde_json::to_string_pretty(&kubeconfig)?)?;
        Ok(path)
    }

    /// The key of this demo's placeholders.
    pub(super) fn masking_key(&self) -> Result<()> {
        let key = capture(command("sh").args(["-c", "head -c 32 /dev/urandom | base64"]))?;
        write_private(&self.path("masking.key"), &key)
    }
}

pub(super) fn quickstart(name: &str) -> PathBuf {
    workspace::root().join("deploy/quickstart").join(name)
}

/// Writes a file that only its owner reads.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
