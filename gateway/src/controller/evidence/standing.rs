//! Whether somebody is still who they were, and may still what they might.

use std::time::Duration;

use kube::Client;
use tokio::time::sleep;

use super::{
    access::{self, Attributes},
    person::Credential,
    refusal::Refusal,
};
use crate::telemetry::causes;

pub(super) struct Standing {
    pub(super) client: Client,
    pub(super) credential: Credential,
    pub(super) attributes: Attributes,
}

impl Standing {
    /// Asks again every so often, and says why once it is over. Where nobody can say, it is over too.
    pub(super) async fn ended(&self, every: Duration) -> String {
        loop {
            sleep(every).await;
            if let Err(refusal) = self.check().await {
                return causes(&refusal);
            }
        }
    }

    async fn check(&self) -> Result<(), Refusal> {
        let user = self.credential.user(&self.client).await?;
        let may = access::may(&self.client, &user, &self.attributes).await;
        if may.map_err(Refusal::ReviewFailed)? {
            return Ok(());
        }
        Err(Refusal::Forbidden {
            user: user.username,
            attributes: self.attributes.clone(),
        })
    }
}
