//! Nobody waits any more: people need not be bothered, and what they would say now is for nobody.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, api::PostParams, core::DynamicObject};
use tokio::time::{sleep, timeout};

use super::{Approvals, asking::PATIENCE, state, understand};
use crate::{api::v1alpha1::approval_request::State, informer::Key};

const TRIES: usize = 5;
/// A request that is not there may still be on its way to the API server.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Withdraws the request in the background. What cannot be withdrawn expires.
pub(super) fn start(approvals: &Approvals, key: &Key) {
    let objects = approvals.objects(&key.0);
    let (waiting, key) = (Arc::clone(&approvals.waiting), key.clone());
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        for _ in 0..TRIES {
            // The same call came again meanwhile.
            if waiting.has(&key) {
                return;
            }
            match timeout(PATIENCE, withdraw(&objects, &key.1)).await {
                Ok(Ok(())) => return,
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() => {}
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                    sleep(ON_ITS_WAY).await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, name = key.1, "withdrawing a request for approval");
                    return;
                }
                Err(_) => return,
            }
        }
    });
}

/// Only while it is open: what was decided stays for the same call to come again.
async fn withdraw(objects: &Api<DynamicObject>, name: &str) -> kube::Result<()> {
    let mut object = objects.get(name).await?;
    let now = Timestamp::now();
    let is_open = understand(&object).is_ok_and(|request| state(&request, now) == State::Pending);
    let Some(status) = object.data["status"].as_object_mut().filter(|_| is_open) else {
        return Ok(());
    };
    status.insert("withdrawnAt".into(), now.to_string().into());
    status.insert("state".into(), "Withdrawn".into());
    let params = PostParams::default();
    objects
        .replace_status(name, &params, &object)
        .await
        .map(drop)
}
