//! A decision on its way into the object: by a person's own credential, or by whoever speaks for one.

use kube::{Api, Client, api::PostParams, core::DynamicObject};
use serde_json::json;

use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, Vote},
    informer::Key,
};

/// Others may vote, or use the approval, at the same time.
const TRIES: usize = 10;

/// The vote was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotVoted {
    #[error("there is no such request for approval; see `sallyport approvals list -A`")]
    NotFound,
    /// In the words of the API server or of an admission policy.
    #[error("the decision was not taken: {0}")]
    Refused(String),
    #[error("others write to the request all the time; try again")]
    Busy,
    #[error("the API server could not be reached")]
    Unreachable(#[source] kube::Error),
}

/// Appends `vote` to those that are there, and gives the request as it is then.
pub async fn vote(client: &Client, key: &Key, vote: &Vote) -> Result<ApprovalRequest, NotVoted> {
    let resource = kube::core::ApiResource::erase::<ApprovalRequest>(&());
    let objects = Api::<DynamicObject>::namespaced_with(client.clone(), &key.0, &resource);
    for _ in 0..TRIES {
        let mut object = objects.get(&key.1).await.map_err(refused)?;
        append(&mut object, vote);
        let params = PostParams::default();
        match objects.replace_status(&key.1, &params, &object).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            stored => {
                let stored = stored.map_err(refused)?;
                return super::understand(&stored)
                    .map_err(|error| NotVoted::Refused(error.to_string()));
            }
        }
    }
    Err(NotVoted::Busy)
}

fn append(object: &mut DynamicObject, vote: &Vote) {
    let status = &mut object.data["status"];
    if !status["votes"].is_array() {
        status["votes"] = json!([]);
    }
    if let Some(votes) = status["votes"].as_array_mut() {
        votes.push(json!(vote));
    }
}

fn refused(error: kube::Error) -> NotVoted {
    match error {
        kube::Error::Api(status) if status.is_not_found() => NotVoted::NotFound,
        kube::Error::Api(status) => NotVoted::Refused(status.message),
        error => NotVoted::Unreachable(error),
    }
}
