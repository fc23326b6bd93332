//! The controller: keeps what people see of approvals and policies right, tells webhooks, and takes what they answer.
//!
//! Several replicas follow the same objects and one of them, the holder of the Lease, writes. Nothing here decides on
//! a call: gateways judge by policies, votes and their own clocks, also while no controller runs.

use std::sync::Arc;

use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    approvals::Approvals,
    election::{Election, Leadership},
    metrics::Metrics,
    policies::{Policies, WrittenPolicy},
};
use crate::{
    api::v1alpha1::approval_request::ApprovalRequest,
    config::controller::ControllerConfig,
    informer::{self, Known},
    readiness::BlockReady,
};

mod approvals;
mod election;
#[cfg(test)]
mod example;
mod metrics;
mod policies;

/// What a controller is made of.
pub struct Parts<'a> {
    pub config: ControllerConfig,
    pub client: Client,
    pub registry: &'a mut Registry,
    /// Let go once the objects are known.
    pub starting: BlockReady,
}

pub struct Controller {
    config: ControllerConfig,
    client: Client,
    metrics: Metrics,
    starting: BlockReady,
}

/// Every object that it follows, on every replica.
#[derive(Clone)]
struct Followed {
    approvals: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    policies: watch::Receiver<Arc<Known<WrittenPolicy>>>,
}

impl Controller {
    pub fn new(parts: Parts<'_>) -> Self {
        Self {
            metrics: Metrics::new(parts.registry),
            config: parts.config,
            client: parts.client,
            starting: parts.starting,
        }
    }

    /// Works until `shutdown`, then lets another replica lead at once.
    pub async fn run(self, shutdown: CancellationToken) {
        let identity = identity();
        tracing::info!(identity, "standing for election");
        let (election, leadership) =
            Election::new(self.client.clone(), &self.config.namespace, identity);
        let followed = Followed::new(&self.client);
        tokio::spawn(announce_synced(followed.clone(), self.starting));
        let released = CancellationToken::new();
        let electing = tokio::spawn(election.run(released.clone()));
        let house = House {
            config: self.config,
            client: self.client,
            metrics: self.metrics,
            followed,
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = house.keep_whenever_leading(leadership) => {}
        }
        released.cancel();
        if electing.await.is_err() {
            tracing::error!("the election panicked: the next leader waits for the whole lease");
        }
    }
}

/// What the leader keeps in order.
struct House {
    config: ControllerConfig,
    client: Client,
    metrics: Metrics,
    followed: Followed,
}

impl House {
    async fn keep_whenever_leading(&self, mut leadership: Leadership) {
        loop {
            leadership.gained().await;
            tracing::info!("this replica leads");
            self.metrics.leader.set(1);
            let keeping = self.keep(leadership.clone());
            tokio::select! {
                () = leadership.lost() => {}
                () = keeping => {}
            }
            self.metrics.leader.set(0);
            tracing::warn!("this replica leads no more");
        }
    }

    async fn keep(&self, leadership: Leadership) {
        let client = || self.client.clone();
        let approvals = Approvals::new(
            client(),
            self.followed.approvals.clone(),
            self.config.approvals.retention.0,
            leadership.clone(),
        );
        let policies = Policies::new(client(), self.followed.policies.clone(), leadership);
        tokio::join!(approvals.keep(), policies.keep());
    }
}

impl Followed {
    fn new(client: &Client) -> Self {
        Self {
            approvals: informer::follow(client),
            policies: informer::follow(client),
        }
    }
}

/// Lets readiness go once every kind of object has been heard of whole.
async fn announce_synced(mut followed: Followed, starting: BlockReady) {
    synced(&mut followed.approvals).await;
    synced(&mut followed.policies).await;
    drop(starting);
}

async fn synced<K>(known: &mut watch::Receiver<Arc<Known<K>>>) {
    let heard = known.wait_for(|known| known.synced).await.map(drop);
    if heard.is_err() {
        // Nobody follows them any more: the process ends.
        std::future::pending::<()>().await;
    }
}

/// A replica that starts again is another one.
fn identity() -> String {
    let pod = std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let name = pod.unwrap_or_else(|| "controller".to_owned());
    format!("{name}_{}", Uuid::now_v7())
}
