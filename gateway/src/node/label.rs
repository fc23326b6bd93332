//! The label on the Node that agents' pods are scheduled by. Nothing else of a Node is ever touched.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::telemetry::causes;

const READY_LABEL: &str = "sallyport.dev/ready";
/// A node agent that restarts is ready again before this: the label stays meanwhile.
const START: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(5);

/// Sets the label while the node agent is ready, and takes it away while it is not. Ends with the sender, and then
/// leaves the label as it is: the kernel's part works on.
pub(super) async fn keep(client: Client, node: String, mut ready: watch::Receiver<bool>) {
    let nodes: Api<Node> = Api::all(client);
    let started = tokio::time::timeout(START, ready.wait_for(|ready| *ready)).await;
    if started.is_ok_and(|started| started.is_err()) {
        return;
    }
    loop {
        let now = *ready.borrow_and_update();
        let patch = json!({"metadata": {"labels": {READY_LABEL: now.then_some("true")}}});
        let patched = nodes
            .patch_metadata(&node, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        let retry = match patched {
            Ok(_) => {
                tracing::info!(
                    ready = now,
                    "the node's label {READY_LABEL} is set accordingly"
                );
                None
            }
            Err(error) => {
                tracing::warn!(
                    error = causes(&error),
                    "the node's label {READY_LABEL} cannot be set"
                );
                Some(sleep(RETRY))
            }
        };
        let changed = match retry {
            None => ready.changed().await,
            Some(retry) => tokio::select! {
                changed = ready.changed() => changed,
                () = retry => Ok(()),
            },
        };
        if changed.is_err() {
            return;
        }
    }
}
