//! The cluster as the person at this terminal reaches it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write},
    path::PathBuf,
};

use anyhow::{Context, anyhow, bail, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{
    objects::UNKNOWN,
    output::{Stdout, stdout},
};
use crate::tls;

/// Waits for what is asked of the cluster.
pub(super) fn block_on<T>(asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking)
}

/// Which namespaces; as with kubectl.
#[derive(clap::Args, Debug)]
pub(super) struct Scope {
    /// What is in this namespace [default: the context's].
    #[arg(long, short)]
    namespace: Option<String>,
    /// What is in any namespace.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
}

impl Scope {
    /// None for all namespaces.
    pub(super) fn namespace(&self, client: &Client) -> Option<String> {
        let named = self.namespace.as_deref();
        let namespace = || {
            named
                .unwrap_or_else(|| client.default_namespace())
                .to_owned()
        };
        (!self.all_namespaces).then(namespace)
    }
}

/// Where the cluster is, and as whom; as with kubectl.
#[derive(clap::Args, Debug)]
pub(super) struct Access {
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: the current one].
    #[arg(long)]
    context: Option<String>,
}

/// Who the API server takes this credential for, which is what admission compares with.
pub(super) async fn whoami(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(unasked)?;
    let user = review.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username)
        .context("the API server does not say who you are")
}

fn unasked(error: kube::Error) -> anyhow::Error {
    let advice = match &error {
        kube::Error::Api(status) if status.code == 401 => UNKNOWN,
        _ => "cannot ask the API server who you are; is the current --context the right one?",
    };
    anyhow!(error).context(advice)
}

/// Asks on the terminal before `what` is done to what `show` prints. Where that cannot be seen, nothing is done, and
/// that is an error.
pub(super) fn confirm(
    what: &str,
    show: impl FnOnce(&mut Stdout) -> io::Result<()>,
) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!(
            "nobody can be asked here; give --yes to {}",
            what.to_lowercase()
        );
    }
    let mut out = stdout();
    show(&mut out)
        .and_then(|()| write!(out, "\n{what} this? [y/N] "))
        .and_then(|()| out.flush())
        .map_err(|error| anyhow!("nothing was decided, for it cannot be shown: {error}"))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    ensure!(
        matches!(answer.trim(), "y" | "Y" | "yes"),
        "nothing was decided"
    );
    Ok(())
}

impl Access {
    /// Whether there is a kubeconfig, named or where kubectl looks for one.
    pub(super) fn is_there(&self) -> bool {
        let named = self.kubeconfig.is_some() || self.context.is_some();
        let default =
            || std::env::home_dir().is_some_and(|home| home.join(".kube/config").exists());
        named || std::env::var_os("KUBECONFIG").is_some() || default()
    }

    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Client::try_from(self.config().await?).context("using the kubeconfig")
    }

    /// What the kubeconfig says, for a client that goes elsewhere.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        tls::install_provider();
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        Config::from_custom_kubeconfig(
            kubeconfig.context("reading the kubeconfig; name one with --kubeconfig")?,
            &options,
        )
        .await
        .context("using the kubeconfig")
    }
}
