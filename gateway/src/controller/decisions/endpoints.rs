//! Points a Service without selector at the leader: the others would refuse what it sends.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams},
};
use tokio::time::sleep;

use crate::controller::election::{Leadership, NotWritten, TRIES_AGAIN_AFTER};

/// Somebody else may have changed it.
const RENEWS_EVERY: Duration = Duration::from_secs(60);
/// Of the Service's port, which has the same.
const PORT: &str = "https";

pub(in crate::controller) struct Endpoints {
    slices: Api<EndpointSlice>,
    service: String,
    address: SocketAddr,
    leadership: Leadership,
}

impl Endpoints {
    pub(in crate::controller) fn new(
        client: Client,
        namespace: &str,
        service: &str,
        address: SocketAddr,
        leadership: Leadership,
    ) -> Self {
        Self {
            slices: Api::namespaced(client, namespace),
            service: service.to_owned(),
            address,
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(in crate::controller) async fn keep(&self) {
        loop {
            let pause = match self.write().await {
                Ok(()) => RENEWS_EVERY,
                Err(error) => {
                    tracing::warn!(%error, service = self.service, "the EndpointSlice of decisions could not be written; trying again");
                    TRIES_AGAIN_AFTER
                }
            };
            sleep(pause).await;
        }
    }

    async fn write(&self) -> Result<(), NotWritten> {
        let slice = self.slice();
        let params = PatchParams::apply("sallyport-controller").force();
        let patch = Patch::Apply(&slice);
        let patching = self.slices.patch(&self.service, &params, &patch);
        self.leadership.write(patching).await.map(drop)
    }

    /// Kubernetes finds the slices of a Service by their label.
    fn slice(&self) -> EndpointSlice {
        let labels = [
            ("kubernetes.io/service-name", self.service.as_str()),
            (
                "endpointslice.kubernetes.io/managed-by",
                "sallyport-controller",
            ),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let family = if self.address.is_ipv6() {
            "IPv6"
        } else {
            "IPv4"
        };
        EndpointSlice {
            metadata: ObjectMeta {
                name: Some(self.service.clone()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            address_type: family.to_owned(),
            endpoints: Some(vec![Endpoint {
                addresses: vec![self.address.ip().to_string()],
                conditions: Some(EndpointConditions {
                    ready: Some(true),
                    ..EndpointConditions::default()
                }),
                ..Endpoint::default()
            }]),
            ports: Some(vec![EndpointPort {
                name: Some(PORT.to_owned()),
                port: Some(i32::from(self.address.port())),
                protocol: Some("TCP".to_owned()),
                ..EndpointPort::default()
            }]),
        }
    }
}
