//! `sallyport kubeconfig`: a kubeconfig of its own for an agent outside the cluster.
//!
//! The file holds no token. Its user is an exec plugin that gets a fresh one for every kubectl command,
//! so it can be kept as long as the CA in it is valid.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::{credential::TokenSource, output::say};

const AFTER_HELP: &str = "\
The file holds no token: for each kubectl command it runs this program, which gets a fresh one. Your own \
~/.kube/config is never written to.

Examples:
  In a GitHub Actions job with `permissions: {id-token: write}`:
    sallyport kubeconfig --server https://sallyport.example:6443 --certificate-authority ca.crt --github
  In a GitLab job with `id_tokens: {SALLYPORT_ID_TOKEN: {aud: sallyport}}`:
    sallyport kubeconfig --server https://sallyport.example:6443 --certificate-authority ca.crt --gitlab
  With a token that something else keeps fresh:
    sallyport kubeconfig --server https://sallyport.example:6443 --certificate-authority ca.crt \\
      --token-file /var/run/secrets/tokens/sallyport";

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The gateway's address, such as `https://sallyport.example:6443`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The CA of the gateway's certificate, PEM; it is copied into the file.
    #[arg(long, value_name = "FILE")]
    certificate_authority: PathBuf,
    /// Where to write, mode 0600 [default: NAME.kubeconfig].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    source: TokenSource,
    /// The name of the cluster, the user and the context in the file.
    #[arg(long, default_value = "sallyport")]
    name: String,
    /// The namespace that kubectl uses without -n [default: default].
    #[arg(long)]
    namespace: Option<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program's own path")?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| format!("{}.kubeconfig", args.name).into());
    refuse_default_kubeconfig(&out)?;
    let kubeconfig = kubeconfig(&args, &program)?;
    write_private(&out, &serde_saphyr::to_string(&kubeconfig)?, args.force)?;
    say!(
        "wrote {}; try: kubectl --kubeconfig {} version",
        out.display(),
        out.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn kubeconfig(args: &Args, program: &Path) -> anyhow::Result<Value> {
    ensure!(
        args.server.starts_with("https://"),
        "--server {:?} must begin with https://",
        args.server
    );
    let ca = read_ca(&args.certificate_authority)?;
    let mut context = json!({ "cluster": args.name, "user": args.name });
    if let Some(namespace) = &args.namespace {
        context["namespace"] = json!(namespace);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": args.name, "cluster": {
            "server": args.server,
            "certificate-authority-data": BASE64_STANDARD.encode(ca),
        }}],
        "users": [{ "name": args.name, "user": { "exec": {
            "apiVersion": super::credential::API_VERSION,
            "command": utf8(program)?,
            "args": credential_args(&args.source)?,
            "interactiveMode": "Never",
            "provideClusterInfo": false,
        }}}],
        "contexts": [{ "name": args.name, "context": context }],
        "current-context": args.name,
    }))
}

/// The arguments that make `sallyport credential` use the same source from any directory.
fn credential_args(source: &TokenSource) -> anyhow::Result<Vec<String>> {
    let mut args = vec!["credential".to_owned()];
    if source.github {
        args.extend([
            "--github".into(),
            "--audience".into(),
            source.audience.clone(),
        ]);
    } else if source.gitlab {
        args.extend([
            "--gitlab".into(),
            "--variable".into(),
            source.variable.clone(),
        ]);
    } else if let Some(file) = &source.token_file {
        let absolute =
            std::path::absolute(file).with_context(|| format!("resolving {}", file.display()))?;
        args.extend(["--token-file".into(), utf8(&absolute)?.to_owned()]);
    }
    Ok(args)
}

fn read_ca(path: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = std::fs::read(path).with_context(|| format!("reading the CA {}", path.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .filter(Result::is_ok)
        .count();
    ensure!(
        certificates > 0,
        "{} holds no PEM certificate",
        path.display()
    );
    Ok(pem)
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| {
        format!(
            "{} is not UTF-8, which a kubeconfig must be",
            path.display()
        )
    })
}

/// A person's own contexts are in there; this command never writes among them, nor over them.
fn refuse_default_kubeconfig(out: &Path) -> anyhow::Result<()> {
    let home = std::env::home_dir().unwrap_or_default();
    if std::path::absolute(out)? == home.join(".kube/config") {
        bail!(
            "{} is your own kubeconfig; choose another file with --out",
            out.display()
        );
    }
    Ok(())
}

/// Readable by its owner alone from the moment it exists.
fn write_private(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if !force {
        return create_private(path, text).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                anyhow::anyhow!(
                    "{} exists; replace it with --force or choose another file with --out",
                    path.display()
                )
            }
            _ => anyhow::Error::new(error).context(format!("writing {}", path.display())),
        });
    }
    let mut draft = path.to_owned().into_os_string();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    create_private(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("replacing {}", path.display()))
}

fn create_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
