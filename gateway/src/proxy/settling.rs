//! What becomes of a call that people must decide on.
//!
//! The call waits where it is; nothing of it is on disk but its masked record. Each step is recorded before the next:
//! that people are asked, and what they said before anything is forwarded. When they approve, policy judges the call
//! again, the approval is marked as used in the cluster, and only then there is a permit. A client that leaves drops
//! this future, and with it the question; so does one that was answered early.

use std::{sync::Arc, time::Instant};

use futures_util::FutureExt;
use jiff::Timestamp;

use self::{patience::patience, refusal::Unapproved};
use super::{
    Call, Gateway, deny,
    judging::Judged,
    live::{Ended, LiveCall},
    recording::{APPROVED, PENDING, Recording},
    rejection::Rejection,
    revocation::Sources,
    upgrade::{KEPT, Screen},
};
use crate::{
    api::v1alpha1::{agent_policy::Channel, approval_request::ApprovalRequest},
    approval::{NotUsed, Question, Ticket},
    audit::{record::Approval, wal::NotRecorded},
    mask,
    policy::{Denial, NotApproved, PendingPermit, Permit, Standing, standing},
};

mod patience;
mod question;
pub(super) mod recently;
pub(super) mod refusal;

/// What ended the wait.
enum Waited {
    Approved,
    Not(NotApproved),
    /// The time for which the call is held is over.
    Long,
    Draining,
    /// Policies, stops, or which namespaces are agents'.
    RulesChanged,
    /// A person ended it.
    Ended(Ended),
}

impl Gateway {
    /// Holds the call until it is decided, and gives the permit for what was approved.
    pub(super) async fn settle_approval(
        &self,
        pending: PendingPermit,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Permit, Rejection> {
        let Some(approvals) = &self.approvals else {
            let denial = Denial::unattended(&pending);
            recording.judged_by(pending.policy_digest());
            recording.denied(&denial);
            return Err(Rejection::Denied(denial.message(call.attributes)));
        };
        let question = match question::of(&pending, call, &self.cluster, recording.key()) {
            Ok(question) => question,
            Err(why) => {
                recording.judged_by(pending.policy_digest());
                return deny(recording, &refusal::not_approvable(&why), call.attributes);
            }
        };
        let is_stream = call.attributes.request.is_stream();
        let comes_again = is_stream && self.recently.take(&question.spec.digest, Instant::now());
        let until = match comes_again {
            true => Instant::now(),
            false => Instant::now() + patience(call, pending.terms().hold),
        };
        let asked = approvals.open(&question).await;
        let mut ticket = asked.map_err(|error| {
            recording.judged_by(pending.policy_digest());
            Rejection::Unapproved(Unapproved::not_asked(&pending, error))
        })?;
        begin(&pending, &question, &ticket, recording).await?;
        let held = self.live.held(recording);
        let held = held.ok_or(Rejection::NotRecorded(NotRecorded::Closed))?;
        let is_open = ticket.settled(&question).now_or_never().is_none();
        if is_open && until > Instant::now() {
            accept_early(&pending, &ticket, call, recording).await;
        }
        let settled =
            self.wait_and_use(pending, question, (&ticket, &held), until, call, recording);
        let settled = settled.await;
        // Who gets here has an answer, and the question stays for the same call; not one that policy denies meanwhile.
        if !matches!(settled, Err(Rejection::Denied(_))) {
            ticket.keep();
        }
        settled
    }

    async fn wait_and_use(
        &self,
        mut pending: PendingPermit,
        mut question: Question,
        (ticket, held): (&Ticket<'_>, &LiveCall),
        until: Instant,
        call: &mut Call<'_>,
        recording: &mut Recording,
    ) -> Result<Permit, Rejection> {
        let mut rules = self.sources();
        loop {
            let waited = tokio::select! {
                biased;
                ended = held.ended() => Waited::Ended(ended),
                waited = self.wait(ticket, &question, until, call, &mut rules) => waited,
            };
            match waited {
                Waited::Ended(ended) => return refuse_ended(&ended, call, recording),
                Waited::Approved | Waited::RulesChanged => {}
                Waited::Not(why) => return refuse(why, &pending, ticket, recording),
                Waited::Long if Timestamp::now() >= expires(&question, ticket) => {
                    return refuse(NotApproved::Expired, &pending, ticket, recording);
                }
                Waited::Long => {
                    if call.attributes.request.is_stream() && !call.client.is_accepted() {
                        self.recently.told(&question.spec.digest, Instant::now());
                    }
                    return Err(still_open(&pending, &question, ticket));
                }
                Waited::Draining => {
                    return Err(Unapproved::draining(&pending, ticket.key()).into());
                }
            }
            // By what has changed since, for the same facts.
            pending = match self.judge(call, recording).await? {
                Judged::Allowed(permit) => {
                    let released = held.release();
                    return released.map_or_else(
                        |ended| refuse_ended(&ended, call, recording),
                        |()| Ok(permit),
                    );
                }
                Judged::Held(pending) => pending,
            };
            question::adopt(&mut question, &pending, recording.key());
            if matches!(waited, Waited::Approved) {
                if let Err(ended) = held.release() {
                    return refuse_ended(&ended, call, recording);
                }
                let look_up = pending.look_up();
                let permit = use_up(pending, &question, ticket, recording).await?;
                self.check_pod(look_up, call, recording).await?;
                return Ok(permit);
            }
        }
    }

    async fn wait(
        &self,
        ticket: &Ticket<'_>,
        question: &Question,
        until: Instant,
        call: &Call<'_>,
        rules: &mut Sources,
    ) -> Waited {
        tokio::select! {
            biased;
            settled = ticket.settled(question) => settled.map_or_else(Waited::Not, |()| Waited::Approved),
            () = call.client.draining() => Waited::Draining,
            () = rules.changed() => Waited::RulesChanged,
            () = tokio::time::sleep_until(until.into()) => Waited::Long,
        }
    }
}

/// Nothing was sent, and the question goes.
fn refuse_ended(
    ended: &Ended,
    call: &Call<'_>,
    recording: &mut Recording,
) -> Result<Permit, Rejection> {
    recording.refused(&NotApproved::Withdrawn, |_| ());
    deny(recording, &ended.denial(), call.attributes)
}

/// Durable before anybody waits.
async fn begin(
    pending: &PendingPermit,
    question: &Question,
    ticket: &Ticket<'_>,
    recording: &mut Recording,
) -> Result<(), Rejection> {
    let approval = Approval {
        id: id(ticket),
        state: PENDING,
        view_digest: Some(question::view_digest(&question.spec)),
        ..Approval::default()
    };
    let recorded = recording.held(pending, approval).await;
    recorded.map_err(Rejection::NotRecorded)
}

/// Lets a terminal show what it waits for. Without room for what it may say meanwhile it waits without.
async fn accept_early(
    pending: &PendingPermit,
    ticket: &Ticket<'_>,
    call: &mut Call<'_>,
    recording: &Recording,
) {
    let Some(screen) = Screen::of(call.arrival, call.attributes.request) else {
        return;
    };
    if let Ok(room) = recording.room(KEPT).await {
        let notice = refusal::notice(pending, ticket.key());
        call.client.accept(screen, notice, room);
    }
}

/// The mark first, then the record of it, then the permit: whatever dies in between, nothing is sent twice.
async fn use_up(
    pending: PendingPermit,
    question: &Question,
    ticket: &Ticket<'_>,
    recording: &mut Recording,
) -> Result<Permit, Rejection> {
    let decision = match ticket.use_up(question).await {
        Ok(decision) => decision,
        Err(NotUsed::NotApproved(why)) => return refuse(why, &pending, ticket, recording),
        Err(error) => return Err(Unapproved::not_used(&pending, ticket.key(), error).into()),
    };
    let request = &decision.request;
    let terms = pending.asked_terms();
    let decided = decided(
        request,
        &standing(votes(request), &request.spec.requester, &terms),
        recording.key(),
    );
    let permit = match pending.approve(&decision, &question.claim, Timestamp::now()) {
        Ok(permit) => permit,
        Err(why) => return Err(Unapproved::not_approved(why, &terms, ticket.key()).into()),
    };
    recording
        .settled(|approval| {
            *approval = Approval {
                id: std::mem::take(&mut approval.id),
                ..decided
            }
        })
        .await
        .map_err(Rejection::NotRecorded)?;
    recording.allowed(&permit);
    Ok(permit)
}

fn refuse(
    why: NotApproved,
    pending: &PendingPermit,
    ticket: &Ticket<'_>,
    recording: &mut Recording,
) -> Result<Permit, Rejection> {
    let terms = pending.asked_terms();
    let request = ticket.request();
    let key = Arc::clone(recording.key());
    recording.refused(&why, |approval| {
        let standing = request.as_ref().map(|request| {
            (
                request,
                standing(votes(request), &request.spec.requester, &terms),
            )
        });
        if let Some((request, standing)) = standing {
            let id = std::mem::take(&mut approval.id);
            *approval = Approval {
                id,
                ..decided(request, &standing, &key)
            };
        }
    });
    Err(Unapproved::not_approved(why, &terms, ticket.key()).into())
}

fn still_open(pending: &PendingPermit, question: &Question, ticket: &Ticket<'_>) -> Rejection {
    Unapproved::pending(pending, ticket.key(), expires(question, ticket)).into()
}

/// Of the request, which may be older than the question.
fn expires(question: &Question, ticket: &Ticket<'_>) -> Timestamp {
    let request = ticket.request();
    request.map_or(question.spec.expires_at, |request| request.spec.expires_at)
}

fn id(ticket: &Ticket<'_>) -> String {
    let (namespace, name) = ticket.key();
    format!("{namespace}/{name}")
}

fn votes(request: &ApprovalRequest) -> &[crate::api::v1alpha1::approval_request::Vote] {
    request
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.votes)
}

/// What the record says of a decision; its id is not among it.
fn decided(request: &ApprovalRequest, standing: &Standing, key: &mask::Key) -> Approval {
    let deciders: Vec<&str> = match standing {
        Standing::Open { .. } => Vec::new(),
        Standing::Approved { by, .. } => by.iter().map(String::as_str).collect(),
        Standing::Denied { by, .. } => vec![by],
    };
    let mut said = votes(request)
        .iter()
        .filter(|vote| deciders.contains(&vote.by.as_str()));
    let first = said.next();
    Approval {
        id: String::new(),
        state: match standing {
            Standing::Open { .. } => PENDING,
            Standing::Approved { .. } => APPROVED,
            Standing::Denied { .. } => "denied",
        },
        by: (!deciders.is_empty()).then(|| deciders.join(", ")),
        via: first.map(|vote| channel(vote.via)),
        decided_at: first.map(|_| Timestamp::now()),
        reason: first
            .and_then(|vote| vote.reason.as_deref())
            .map(|reason| mask::text(key, reason)),
        scope: match standing {
            Standing::Approved { scope, .. } => Some(question::scope(*scope)),
            _ => None,
        },
        view_digest: Some(question::view_digest(&request.spec)),
    }
}

fn channel(via: Channel) -> &'static str {
    match via {
        Channel::Kubernetes => "Kubernetes",
        Channel::Console => "Console",
        Channel::Webhook => "Webhook",
    }
}
