//! The use of an approval, durable in the object before anything is forwarded.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, api::PostParams, core::DynamicObject};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Approvals, Question, Ticket, asking::PATIENCE, understand};
use crate::{
    api::{
        approval_decision::ApprovalDecision,
        v1alpha1::{
            agent_policy::Scope,
            approval_request::{ApprovalRequest, most_uses},
        },
    },
    policy::{NotApproved, usable},
};

/// Enough for as many calls as one approval lets pass at most, all at once.
const TRIES: usize = 100;
/// Between two tries where the API server did not answer.
const PAUSE: Duration = Duration::from_millis(100);
/// Tries that may go unanswered: a second, and what the API server's silence takes.
const UNANSWERED: usize = 10;

/// The approval was not used, as far as this call goes: it is not forwarded.
#[derive(Debug, thiserror::Error)]
pub enum NotUsed {
    #[error(transparent)]
    NotApproved(#[from] NotApproved),
    #[error("the API server did not take the mark that the approval is used: {0}")]
    Refused(String),
    #[error("the API server could not be asked to mark the approval as used; run the call again")]
    Unreachable,
}

/// What one try came to.
enum Tried {
    Used(Box<ApprovalRequest>),
    /// Somebody was faster.
    Conflict,
    /// Whether it was written is unknown until it is read.
    Unanswered,
}

impl Ticket<'_> {
    /// Marks the approval as used by this call, and reads back that it is. A use bears the call's audit id, so one
    /// that was written although the answer was lost is found again, and no other call takes it for its own.
    pub async fn use_up(&self, question: &Question) -> Result<ApprovalDecision, NotUsed> {
        let objects = self.approvals.objects(&self.key.0);
        let mut unanswered = 0;
        for _ in 0..TRIES {
            match self.try_use(&objects, question).await? {
                Tried::Used(request) => return Ok(ApprovalDecision { request: *request }),
                Tried::Conflict => {}
                Tried::Unanswered if unanswered == UNANSWERED => break,
                Tried::Unanswered => {
                    unanswered += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Err(NotUsed::Unreachable)
    }

    async fn try_use(
        &self,
        objects: &Api<DynamicObject>,
        question: &Question,
    ) -> Result<Tried, NotUsed> {
        let name = &self.key.1;
        let Some(mut object) = answer(objects.get(name)).await? else {
            return Ok(Tried::Unanswered);
        };
        let request = typed(&object)?;
        if is_used_by(&request, &question.claim.audit_id) {
            return Ok(Tried::Used(request.into()));
        }
        let (spec, claim) = (&question.spec, &question.claim);
        let scope = usable(&request, spec, claim, Timestamp::now())?;
        mark(&mut object, self.approvals, question, scope)?;
        let params = PostParams::default();
        let written = objects.replace_status(name, &params, &object);
        match timeout(PATIENCE, written).await {
            Ok(Ok(stored)) => {
                let stored = typed(&stored)?;
                // What the API server stored is what counts, not what it was sent.
                Ok(match is_used_by(&stored, &claim.audit_id) {
                    true => Tried::Used(stored.into()),
                    false => Tried::Conflict,
                })
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Ok(Tried::Conflict),
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
                Err(NotUsed::Refused(status.message))
            }
            Ok(Err(_)) | Err(_) => Ok(Tried::Unanswered),
        }
    }
}

/// None where there is none.
async fn answer(
    asked: impl Future<Output = kube::Result<DynamicObject>>,
) -> Result<Option<DynamicObject>, NotUsed> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(object)) => Ok(Some(object)),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
            Err(NotApproved::Withdrawn.into())
        }
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
            Err(NotUsed::Refused(status.message))
        }
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn typed(object: &DynamicObject) -> Result<ApprovalRequest, NotUsed> {
    understand(object).map_err(|error| NotUsed::Refused(error.to_string()))
}

fn is_used_by(request: &ApprovalRequest, audit_id: &str) -> bool {
    let uses = request.status.iter().flat_map(|status| &status.uses);
    uses.filter(|one| one.audit_id == audit_id).count() == 1
}

/// On the object as it was read, so that nothing else of it changes by being written again.
fn mark(
    object: &mut DynamicObject,
    approvals: &Approvals,
    question: &Question,
    scope: Scope,
) -> Result<(), NotUsed> {
    let ours = json!({
        "gateway": approvals.gateway,
        "auditID": question.claim.audit_id,
        "at": Timestamp::now().to_string(),
    });
    let status = object.data["status"].as_object_mut();
    let status = status.ok_or(NotUsed::NotApproved(NotApproved::NotMarked))?;
    let uses = status.entry("uses").or_insert_with(|| json!([]));
    let Value::Array(uses) = uses else {
        return Err(NotApproved::NotMarked.into());
    };
    uses.push(ours);
    let state = if uses.len() >= most_uses(scope) {
        "Used"
    } else {
        "Approved"
    };
    status.insert("state".into(), state.into());
    Ok(())
}
