//! Keeps ApprovalRequests: their state right for people's eyes, and none for ever.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::election::{Leadership, NotWritten, TRIES_AGAIN_AFTER};
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequest, State},
    approval::state,
    informer::Known,
};

/// No rule gives a request longer, so a gateway whose clock is wrong keeps none from being deleted.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Of what is over and nobody voted on: it tells nothing, and an agent could fill the API server with it.
const UNVOTED_RETENTION: SignedDuration = SignedDuration::from_mins(5);
/// Nothing is waited for longer: a clock that was set is noticed.
const LOOKS_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Approvals {
    client: Client,
    known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
    retention: SignedDuration,
    leadership: Leadership,
}

/// What one request needs.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Action {
    Say(State),
    Delete,
}

impl Approvals {
    pub(super) fn new(
        client: Client,
        known: watch::Receiver<Arc<Known<ApprovalRequest>>>,
        retention: Duration,
        leadership: Leadership,
    ) -> Self {
        Self {
            client,
            known,
            retention: SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX),
            leadership,
        }
    }

    /// Runs for as long as this replica leads.
    pub(super) async fn keep(mut self) {
        loop {
            let known = Arc::clone(&self.known.borrow_and_update());
            let now = Timestamp::now();
            let mut wait = LOOKS_EVERY;
            for (_, request) in known.valid() {
                let (action, next) = judge(request, self.retention, now);
                wait = wait.min(next);
                if let Some(action) = action
                    && let Err(error) = self.act(request, action).await
                {
                    warn(request, &error);
                    wait = wait.min(TRIES_AGAIN_AFTER);
                }
            }
            tokio::select! {
                heard = self.known.changed() => if heard.is_err() {
                    return;
                },
                () = sleep(wait) => {}
            }
        }
    }

    /// What has changed meanwhile is judged again when it is heard of.
    async fn act(&self, request: &ApprovalRequest, action: Action) -> Result<(), NotWritten> {
        let written = match action {
            Action::Say(state) => self.say(request, state).await,
            Action::Delete => self.delete(request).await,
        };
        written.or_else(|error| if error.is_stale() { Ok(()) } else { Err(error) })
    }

    async fn say(&self, request: &ApprovalRequest, state: State) -> Result<(), NotWritten> {
        let metadata = &request.metadata;
        let patch = json!({
            "metadata": {"resourceVersion": metadata.resource_version, "uid": metadata.uid},
            "status": {"state": state},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let api = self.of(request);
        let name = metadata.name.as_deref().unwrap_or_default();
        let written = self
            .leadership
            .write(api.patch_status(name, &params, &patch));
        written.await.map(drop)
    }

    async fn delete(&self, request: &ApprovalRequest) -> Result<(), NotWritten> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: request.metadata.uid.clone(),
                resource_version: request.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let api = self.of(request);
        let name = request.metadata.name.as_deref().unwrap_or_default();
        let deleted = self.leadership.write(api.delete(name, &params));
        deleted.await.map(drop)
    }

    fn of(&self, request: &ApprovalRequest) -> Api<ApprovalRequest> {
        let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// What to do now, and when to look again.
fn judge(
    request: &ApprovalRequest,
    retention: SignedDuration,
    now: Timestamp,
) -> (Option<Action>, Duration) {
    let is_kept_until = is_kept_until(request, retention);
    if now >= is_kept_until {
        return (Some(Action::Delete), LOOKS_EVERY);
    }
    let expires = request.spec.expires_at;
    let until = if now < expires {
        expires.min(is_kept_until)
    } else {
        is_kept_until
    };
    let next = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    let state = state(request, now);
    let said = request.status.as_ref().and_then(|status| status.state);
    let action = (said != Some(state)).then_some(Action::Say(state));
    (action, next)
}

fn is_kept_until(request: &ApprovalRequest, retention: SignedDuration) -> Timestamp {
    let over = is_over_at(request);
    let kept = match request.has_no_votes() {
        true => {
            let status = request.status.as_ref();
            let withdrawn = status.and_then(|status| status.withdrawn_at);
            let over = withdrawn.map_or(over, |withdrawn| withdrawn.min(over));
            over.saturating_add(retention.min(UNVOTED_RETENTION))
        }
        false => over.saturating_add(retention),
    };
    kept.unwrap_or(Timestamp::MAX)
}

/// When nothing can become of it any more, unless it is withdrawn before.
fn is_over_at(request: &ApprovalRequest) -> Timestamp {
    let said = request.spec.expires_at;
    let made = request.metadata.creation_timestamp.as_ref();
    made.map_or(said, |made| {
        said.min(made.0.saturating_add(LONGEST).unwrap_or(said))
    })
}

fn warn(request: &ApprovalRequest, error: &NotWritten) {
    let (namespace, name) = (&request.metadata.namespace, &request.metadata.name);
    tracing::warn!(
        %error, namespace, name,
        "an ApprovalRequest could not be brought up to date; trying again"
    );
}

#[cfg(test)]
mod tests;
