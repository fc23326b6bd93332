//! A pod of the controller that answers, and what vouches for its certificate.

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::cli::refusals::{cannot, cause};

pub(in crate::cli) const LABEL: &str = "app.kubernetes.io/name=sallyport-controller";
const PORT_NAME: &str = "evidence";
const USUAL_PORT: u16 = 8444;
const CA_MAP: &str = "sallyport-evidence-ca";
const CA_KEY: &str = "ca.crt";

pub(super) struct Controller {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) port: u16,
}

impl Controller {
    pub(super) async fn find(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(LABEL)).await;
        let listed = listed.map_err(|error| unlisted(error, namespace))?;
        let pod = listed.items.iter().find(|pod| is_ready(pod));
        let pod = pod.with_context(|| {
            format!(
                "no pod of the controller is ready in {namespace} (label {LABEL}): see kubectl -n {namespace} get \
                 pods, or name --system-namespace or --server"
            )
        })?;
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            pod: pod.name_any(),
            port: port(pod),
        })
    }

    /// As the installation publishes it.
    pub(super) async fn authorities(&self) -> anyhow::Result<Vec<u8>> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let map = maps.get_opt(CA_MAP).await.map_err(cannot(format!(
            "read ConfigMap {CA_MAP} in {}, which says what vouches for the controller (or name --server-ca)",
            self.namespace
        )))?;
        let ca = map.and_then(|map| map.data?.remove(CA_KEY));
        ca.map(String::into_bytes).with_context(|| {
            format!(
                "{} has no ConfigMap {CA_MAP} with the key {CA_KEY}, so nothing vouches for the controller: make it \
                 as deploy/install/examples/evidence.yaml says, or name --server-ca",
                self.namespace
            )
        })
    }
}

fn unlisted(error: kube::Error, namespace: &str) -> anyhow::Error {
    let advice = match &error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "you may not list pods in {namespace}, which finding the controller takes: ask for the Role \
             sallyport-evidence-access there, or name --server"
        ),
        _ => "cannot ask the API server where the controller is".to_owned(),
    };
    cause(error).context(advice)
}

pub(in crate::cli) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "Ready" && condition.status == "True"
    };
    pod.metadata.deletion_timestamp.is_none() && conditions.into_iter().flatten().any(ready)
}

fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .find(|port| port.name.as_deref() == Some(PORT_NAME))
        .and_then(|port| port.container_port.try_into().ok())
        .unwrap_or(USUAL_PORT)
}
