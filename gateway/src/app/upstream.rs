//! How the gateway itself reaches the API server.

use std::time::Duration;

use anyhow::Context;

use crate::config::Upstream;

/// For the gateway's own calls and watches.
pub(super) async fn upstream_config(upstream: &Upstream) -> anyhow::Result<kube::Config> {
    let mut config = configured(upstream).await?;
    // A list whose connection has died behind its head would be waited for without an end, and nothing of its kind be
    // heard again. Our watches end within 10 s, so nothing that lives is silent for so long.
    config.read_timeout = Some(Duration::from_secs(30));
    config.reset_reader_on_write = true;
    Ok(config)
}

async fn configured(upstream: &Upstream) -> anyhow::Result<kube::Config> {
    let Some(path) = &upstream.kubeconfig else {
        return kube::Config::incluster()
            .context("upstream.kubeconfig is not set and this is not a pod of a cluster");
    };
    let kubeconfig = kube::config::Kubeconfig::read_from(path)
        .map_err(unread)
        .with_context(|| format!("reading upstream.kubeconfig {}", path.display()))?;
    let options = kube::config::KubeConfigOptions {
        context: upstream.context.clone(),
        ..Default::default()
    };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("using upstream.kubeconfig {}", path.display()))
}

/// Without the path, which the context of whoever reads it names.
pub(super) fn unread(error: kube::config::KubeconfigError) -> anyhow::Error {
    match error {
        kube::config::KubeconfigError::ReadConfig(why, _) => why.into(),
        error => error.into(),
    }
}
