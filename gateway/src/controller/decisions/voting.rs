//! Writes the votes that callbacks brought, and says what became of each.

use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    ballot::Ballot,
    outcome::Outcomes,
    rules::{self, Refusal},
};
use crate::{
    api::v1alpha1::{
        agent_policy::Channel,
        approval_request::{ApprovalRequest, Vote},
    },
    controller::{
        election::{Leadership, NotWritten},
        metrics::Metrics,
    },
};

/// At a time.
const MOST: usize = 8;
/// How often a vote is written again because the request has changed meanwhile.
const ATTEMPTS: usize = 5;

pub(in crate::controller) struct Voting {
    client: Client,
    outcomes: Arc<Outcomes>,
    leadership: Leadership,
    metrics: Metrics,
}

impl Voting {
    pub(in crate::controller) fn new(
        client: Client,
        outcomes: Arc<Outcomes>,
        leadership: Leadership,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            outcomes,
            leadership,
            metrics,
        }
    }

    /// Runs until nobody sends ballots any more.
    pub(in crate::controller) async fn run(self, ballots: mpsc::Receiver<Ballot>) {
        let ballots = futures_util::stream::unfold(ballots, async |mut ballots| {
            let ballot = ballots.recv().await?;
            Some((ballot, ballots))
        });
        ballots
            .for_each_concurrent(MOST, |ballot| self.settle(ballot))
            .await;
    }

    async fn settle(&self, ballot: Ballot) {
        let outcome = self.cast(&ballot).await;
        let label = outcome.as_ref().map_or_else(Refusal::label, |_| "written");
        self.metrics.vote(label);
        let (by, request) = (&ballot.decider.username, &ballot.choice.request);
        tracing::info!(
            by,
            namespace = request.namespace,
            request = request.name,
            outcome = label,
            "a callback's vote"
        );
        self.outcomes.say(&ballot, outcome.as_ref()).await;
    }

    /// Gives the request that was decided on.
    async fn cast(&self, ballot: &Ballot) -> Result<ApprovalRequest, Refusal> {
        let target = &ballot.choice.request;
        let api: Api<ApprovalRequest> = Api::namespaced(self.client.clone(), &target.namespace);
        for _ in 0..ATTEMPTS {
            let request = self.leadership.write(api.get_opt(&target.name)).await;
            let request = request.map_err(refusal)?.ok_or(Refusal::Gone)?;
            rules::check(&request, ballot, Timestamp::now())?;
            match self.append(&api, &request, ballot).await {
                Ok(_) => return Ok(request),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::LostRace)
    }

    /// The API server takes it only if nothing has changed since `request` was read.
    async fn append(
        &self,
        api: &Api<ApprovalRequest>,
        request: &ApprovalRequest,
        ballot: &Ballot,
    ) -> Result<ApprovalRequest, NotWritten> {
        let votes = request.status.iter().flat_map(|status| &status.votes);
        let votes: Vec<Vote> = votes.cloned().chain([vote(ballot)]).collect();
        let patch = json!({
            "metadata": {
                "resourceVersion": request.metadata.resource_version,
                "uid": request.metadata.uid,
            },
            "status": {"votes": votes},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patching = api.patch_status(&ballot.choice.request.name, &params, &patch);
        self.leadership.write(patching).await
    }
}

fn vote(ballot: &Ballot) -> Vote {
    Vote {
        result: ballot.choice.verdict,
        by: ballot.decider.username.clone(),
        via: Channel::Webhook,
        at: Timestamp::now(),
        reason: ballot.choice.reason.clone(),
        scope: ballot.choice.scope,
    }
}

fn refusal(error: NotWritten) -> Refusal {
    match error {
        NotWritten::NotLeading => Refusal::NotLeading,
        NotWritten::TimedOut => Refusal::TimedOut,
        NotWritten::Refused(kube::Error::Api(status))
            if status.is_forbidden() || status.is_invalid() =>
        {
            Refusal::Refused(status.message)
        }
        NotWritten::Refused(error) => Refusal::Unwritten(error),
    }
}
