//! The cluster as the person at this terminal reaches it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write},
    path::PathBuf,
    sync::OnceLock,
};

use anyhow::{Context, anyhow, bail, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{
    output::{Stdout, stdout},
    refusals::cannot,
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
        .map_err(cannot("ask the API server who you are"))?;
    let user = review.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username)
        .context("the API server does not say who you are")
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
        let kubeconfig = kubeconfig.map_err(|error| self.unread(&error))?;
        let context = chosen(&kubeconfig, self.context.as_deref())?;
        let options = KubeConfigOptions {
            context: Some(context.clone()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.map_err(|error| {
            anyhow!("the context {context} of the kubeconfig cannot be used: {error}")
        })?;
        let url = config.cluster_url.to_string();
        // Messages of one command are about one server.
        ASKED.get_or_init(|| format!("{} (context {context})", url.trim_end_matches('/')));
        Ok(config)
    }

    fn unread(&self, error: &KubeconfigError) -> anyhow::Error {
        match error {
            KubeconfigError::ReadConfig(why, path) => {
                let why = match why.kind() {
                    io::ErrorKind::NotFound => "no such file".to_owned(),
                    _ => why.to_string(),
                };
                let path = path.display();
                anyhow!("cannot read the kubeconfig {path}: {why}; name one with --kubeconfig")
            }
            // Not the lines around it, which may hold a token.
            KubeconfigError::Parse(why) => {
                anyhow!(
                    "the kubeconfig {} is malformed: {}",
                    self.files(),
                    why.without_snippet()
                )
            }
            error => anyhow!("the kubeconfig {} cannot be used: {error}", self.files()),
        }
    }

    /// Where it was read from.
    fn files(&self) -> String {
        let variable = || {
            let files = std::env::var_os("KUBECONFIG").filter(|files| !files.is_empty())?;
            Some(PathBuf::from(files))
        };
        let default = || PathBuf::from("~/.kube/config");
        let files = self.kubeconfig.clone().or_else(variable);
        files.unwrap_or_else(default).display().to_string()
    }
}

/// The context that is named, or the current one.
fn chosen(kubeconfig: &Kubeconfig, named: Option<&str>) -> anyhow::Result<String> {
    let known = kubeconfig.contexts.iter().map(|context| &*context.name);
    let known = known.collect::<Vec<_>>().join(", ");
    let current = kubeconfig.current_context.as_deref();
    let chosen = named.or_else(|| current.filter(|name| !name.is_empty()));
    let chosen = chosen.with_context(|| {
        format!("the kubeconfig names no current context; name one with --context: {known}")
    })?;
    ensure!(
        kubeconfig
            .contexts
            .iter()
            .any(|context| context.name == chosen),
        "the kubeconfig has no context {chosen}; it has: {known}"
    );
    Ok(chosen.to_owned())
}

static ASKED: OnceLock<String> = OnceLock::new();

/// The API server of this command, as messages name it.
pub(super) fn asked_server() -> &'static str {
    ASKED.get().map_or("the API server", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: &str = "{apiVersion: v1, kind: Config, current-context: prod, clusters: [], users: [], contexts: \
                            [{name: prod, context: {cluster: c, user: u}}, {name: test, context: {cluster: c, user: u}}]}";

    fn at(path: PathBuf) -> Access {
        Access {
            kubeconfig: Some(path),
            context: None,
        }
    }

    #[test]
    fn a_context_that_is_not_there_is_answered_with_those_that_are() {
        let mut kubeconfig = Kubeconfig::from_yaml(CONTEXTS).expect("a kubeconfig");
        assert_eq!(chosen(&kubeconfig, None).expect("the current one"), "prod");
        assert_eq!(
            chosen(&kubeconfig, Some("test")).expect("the named one"),
            "test"
        );
        let problem = chosen(&kubeconfig, Some("nope")).unwrap_err().to_string();
        assert_eq!(
            problem,
            "the kubeconfig has no context nope; it has: prod, test"
        );
        kubeconfig.current_context = None;
        assert!(chosen(&kubeconfig, None).is_err());
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_read_is_named_once_and_not_quoted() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("nope");
        let problem = at(missing.clone()).config().await.unwrap_err();
        let expected = format!(
            "cannot read the kubeconfig {}: no such file; name one with --kubeconfig",
            missing.display()
        );
        assert_eq!(format!("{problem:#}"), expected);
        let malformed = directory.path().join("malformed");
        std::fs::write(&malformed, "users: [{name: u, user: {token: hush\n").expect("written");
        let problem = format!("{:#}", at(malformed.clone()).config().await.unwrap_err());
        assert!(
            problem.contains(&malformed.display().to_string()),
            "{problem}"
        );
        assert!(!problem.contains("hush"), "{problem}");
    }
}
