//! Says in each AgentPolicy's status whether gateways take it, and if not, what is wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

pub(super) use self::written::WrittenPolicy;
use super::election::{Leadership, NotWritten, TRIES_AGAIN_AFTER};
use crate::{
    api::v1alpha1::agent_policy::{AgentPolicy, AgentPolicyStatus},
    informer::Known,
};

mod written;

pub(super) struct Policies {
    policies: Api<AgentPolicy>,
    known: watch::Receiver<Arc<Known<WrittenPolicy>>>,
    leadership: Leadership,
}

impl Policies {
    pub(super) fn new(
        client: Client,
        known: watch::Receiver<Arc<Known<WrittenPolicy>>>,
        leadership: Leadership,
    ) -> Self {
        Self {
            policies: Api::all(client),
            known,
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(super) async fn keep(mut self) {
        // By name: what this version says of each generation, which need not be found out twice.
        let mut judged = BTreeMap::new();
        loop {
            let known = Arc::clone(&self.known.borrow_and_update());
            judged.retain(|name, _| {
                known
                    .objects
                    .contains_key(&(String::new(), String::clone(name)))
            });
            let mut has_failed = false;
            for ((_, name), policy) in known.valid() {
                let status = match judged.get(name) {
                    Some(status) if is_of(status, policy) => status,
                    _ => {
                        judged.insert(name.clone(), policy.judge(name));
                        &judged[name]
                    }
                };
                if policy.status.as_ref() != Some(status)
                    && let Err(error) = self.say(name, policy, status).await
                {
                    tracing::warn!(%error, policy = name, "an AgentPolicy's status could not be written; trying again");
                    has_failed = true;
                }
            }
            tokio::select! {
                heard = self.known.changed() => if heard.is_err() {
                    return;
                },
                () = sleep(TRIES_AGAIN_AFTER), if has_failed => {}
            }
        }
    }

    /// What has changed meanwhile is judged again when it is heard of.
    async fn say(
        &self,
        name: &str,
        policy: &WrittenPolicy,
        status: &AgentPolicyStatus,
    ) -> Result<(), NotWritten> {
        let patch = json!({
            "metadata": {"resourceVersion": policy.metadata.resource_version, "uid": policy.metadata.uid},
            "status": status,
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patching = self.policies.patch_status(name, &params, &patch);
        match self.leadership.write(patching).await {
            Err(error) if !error.is_stale() => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_of(status: &AgentPolicyStatus, policy: &WrittenPolicy) -> bool {
    Some(status.observed_generation) == policy.metadata.generation
}
