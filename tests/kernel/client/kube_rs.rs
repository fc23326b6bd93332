//! kube-rs as programs use it: it finds out by itself that it runs in a pod.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config, ResourceExt as _, api::ListParams};

/// The names of the ConfigMaps of `namespace`.
pub(crate) fn list(namespace: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let list = runtime.block_on(async {
        let client = Client::try_from(Config::incluster()?)?;
        let maps = Api::<ConfigMap>::namespaced(client, namespace);
        anyhow::Ok(maps.list(&ListParams::default()).await?)
    })?;
    let names: Vec<String> = list.iter().map(ConfigMap::name_any).collect();
    Ok(names.join(" "))
}
