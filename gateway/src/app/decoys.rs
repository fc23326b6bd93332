//! Stops the sessions that read decoys.

use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    api::v1alpha1::agent_stop::{AgentStop, AgentStopSpec, StopTarget},
    proxy::Caught,
};

/// The next one that is caught waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a stop for everyone who is caught, until `shutdown`.
pub(super) async fn stop_sessions(
    client: Client,
    mut caught: mpsc::Receiver<Caught>,
    shutdown: CancellationToken,
) {
    loop {
        let caught = tokio::select! {
            caught = caught.recv() => caught,
            () = shutdown.cancelled() => None,
        };
        let Some(caught) = caught else { return };
        let stopped = timeout(PATIENCE, stop(&client, &caught)).await;
        match stopped.unwrap_or_else(|_| Err(anyhow!("no answer within 10 s"))) {
            Ok(name) => tracing::warn!(
                audit_id = caught.audit_id,
                stop = name,
                "stopped the session that read a decoy"
            ),
            Err(error) => tracing::error!(
                audit_id = caught.audit_id,
                error = format!("{error:#}"),
                "the session that read a decoy is not stopped: stop it with `sallyport agents stop`"
            ),
        }
    }
}

async fn stop(client: &Client, caught: &Caught) -> anyhow::Result<String> {
    let target = match caught.session.clone() {
        Ok(session) => StopTarget::Session(session),
        Err(user) => StopTarget::Agent(user),
    };
    let secret = &caught.secret;
    let stop = AgentStop {
        metadata: ObjectMeta {
            // One call is one stop, however often this is tried.
            name: Some(format!("decoy-{}", caught.audit_id)),
            ..ObjectMeta::default()
        },
        spec: AgentStopSpec {
            target,
            reason: format!(
                "it read the decoy Secret {} in {} (call {})",
                secret.name, secret.namespace, caught.audit_id
            ),
            by: own_name(client).await?,
        },
        status: None,
    };
    let stops: Api<AgentStop> = Api::all(client.clone());
    let made = stops.create(&PostParams::default(), &stop).await.context(
        "creating an AgentStop; bind ClusterRole sallyport-gateway-decoys to the gateway if it may not",
    )?;
    Ok(made.metadata.name.unwrap_or_default())
}

/// Admission wants it in the stop.
async fn own_name(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .context("asking the API server who the gateway is")?;
    let user = review.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username)
        .context("the API server does not say who the gateway is")
}
