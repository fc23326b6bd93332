//! Stops that the controller brings, so that a gateway whose watch is silent hears of them too.

use http::StatusCode;
use hyper::body::Incoming;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Control, asked, refusal::Refusal};
use crate::{
    api::v1alpha1::agent_stop::AgentStop,
    reply::{Reply, json},
};

/// One AgentStop as the API server has it, and who waits for it to be in force.
pub struct StopPush {
    pub object: AgentStop,
    /// False where this gateway has heard that it is lifted.
    pub in_force: oneshot::Sender<bool>,
}

/// Answers once it is in force.
pub(super) async fn push(control: &Control, body: Incoming) -> Result<Reply, Refusal> {
    let object = asked::stop(body).await?;
    let name = object.name_any();
    let stops = control.stops.as_ref().ok_or(Refusal::NoObjects)?;
    let in_force = taken(stops, object).await.ok_or(Refusal::GoingDown)?;
    Ok(json(
        StatusCode::OK,
        &json!({ "name": name, "inForce": in_force }),
    ))
}

/// `None` where nobody takes it any more.
async fn taken(stops: &mpsc::Sender<StopPush>, object: AgentStop) -> Option<bool> {
    let (in_force, answer) = oneshot::channel();
    stops.send(StopPush { object, in_force }).await.ok()?;
    answer.await.ok()
}
