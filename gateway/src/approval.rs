//! Asks people about calls, and lets what they approved be used.
//!
//! One [`Approvals`] per gateway. A call that people must decide on becomes a [`Question`]; [`Approvals::open`] finds
//! the request that it can share, or makes one. [`Ticket::settled`] waits for what people say. [`Ticket::use_up`]
//! marks the approval as used before anything is forwarded: the API server's compare-and-swap on the object decides
//! between two calls that come at once, on whichever gateways, and a gateway that dies afterwards leaves an approval
//! that was used and a call whose outcome is unknown. Nobody sends it later.
//!
//! Waiting is by what was last heard; a use is decided on what was read for it.

use std::sync::{Arc, Mutex};

use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
};
use tokio::sync::watch;

use self::ticket::Waiting;
pub use self::{
    asking::{NotAsked, Question},
    state::state,
    ticket::Ticket,
    usage::NotUsed,
    voting::{NotVoted, vote},
};
use crate::{
    api::v1alpha1::approval_request::ApprovalRequest,
    informer::{self, Key, Known},
    rates::Rates,
};

mod asking;
mod name;
mod state;
mod ticket;
mod usage;
pub mod view;
mod voting;
mod withdrawal;

/// The requests for approval of one cluster, as one gateway asks and uses them.
pub struct Approvals {
    client: Client,
    known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    /// Its name in uses.
    gateway: String,
    /// Of requests about what is in no namespace.
    namespace: String,
    rates: Mutex<Rates>,
    waiting: Arc<Waiting>,
}

impl Approvals {
    /// Begins to follow the cluster's requests.
    pub fn follow(client: Client, gateway: String, namespace: String) -> Self {
        Self::over(informer::follow(&client), client, gateway, namespace)
    }

    fn over(
        known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
        client: Client,
        gateway: String,
        namespace: String,
    ) -> Self {
        Self {
            client,
            known,
            gateway,
            namespace,
            rates: Mutex::new(Rates::new(asking::BURST, asking::EVERY)),
            waiting: Arc::default(),
        }
    }

    /// Resolves once the cluster's requests have been heard whole.
    pub fn synced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut known = self.known.clone();
        async move {
            let _heard = known.wait_for(|known| known.synced).await;
        }
    }

    /// Objects as they were read, so that what is written back is what was read.
    fn objects(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ApprovalRequest>(&());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    fn heard(&self, key: &Key) -> Option<Arc<ApprovalRequest>> {
        let known = self.known.borrow();
        let object = known.objects.get(key)?;
        object.as_ref().ok().cloned()
    }
}

/// A request for approval as it is typed, and as it was read.
fn understand(object: &DynamicObject) -> Result<ApprovalRequest, serde_json::Error> {
    serde_json::to_value(object).and_then(serde_json::from_value)
}

#[cfg(test)]
mod tests;
