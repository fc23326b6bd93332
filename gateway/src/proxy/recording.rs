//! The record of one call: the intent before anything is judged or sent, the outcome before the last
//! byte of the answer. A [`Recording`] that is dropped records how far the call had come.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::{
    arrival::Arrival,
    aside::Aside,
    budget::{NoRoom, Room},
    decoys,
    growing::Growing,
    metrics::Metrics,
    principals::Admission,
    recorder::{Append, Recorder, note_body_state, secrets_seen},
    rejection::Rejection,
    upgrade::Heard,
    view::{self, AgentView},
};
use crate::{
    api::v1alpha1::approval_request::Risk,
    audit::{
        record::{
            Approval, BodyState, DecisionKind, Enforcement, Level, ObjectRef, Outcome, Record,
            ResponseStatus, Stage,
        },
        wal::NotRecorded,
    },
    identity::Identity,
    mask::{self, Findings, Issued, RecordedBody, SecretName, View},
    policy::{Denial, NotApproved, PendingPermit, Permit},
    request_info::RequestInfo,
};

/// One call between its intent and its outcome.
pub(super) struct Recording {
    recorder: Arc<Recorder>,
    started: Instant,
    record: Option<Box<Record>>,
    phase: Phase,
    /// Since when people are asked.
    hold: Option<Instant>,
    /// What this call takes of what all share, until its records are appended: an agent that leaves must not free
    /// it before the disk does.
    held: Option<Held>,
    /// The intent of a read that may lag, while it is being committed.
    intent: Option<Append>,
    /// How the agent sees the answer, where not as it is.
    view: Option<AgentView>,
}

/// What a call takes of what all share.
pub(super) struct Held {
    pub(super) admission: Admission,
    /// Of its bodies.
    room: Option<Room>,
}

/// The state of an approval that people have not decided on.
pub(super) const PENDING: &str = "pending";
/// Of one that let the call pass.
pub(super) const APPROVED: &str = "approved";

/// What an interruption now would mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Judging,
    Sent,
    Answering,
}

impl Recording {
    pub(super) fn new(
        recorder: &Arc<Recorder>,
        arrival: &Arrival,
        record: Record,
        intent: Option<Append>,
        admission: Admission,
    ) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            started: arrival.started,
            record: Some(Box::new(record)),
            phase: Phase::Judging,
            hold: None,
            held: Some(Held {
                admission,
                room: None,
            }),
            intent,
            view: None,
        }
    }

    /// The agent sees the answer this way; the record keeps its own view of what came.
    pub(super) fn shown_as(&mut self, view: Option<AgentView>) {
        self.view = view;
    }

    pub(super) fn is_shown_as_view(&self) -> bool {
        self.view.is_some()
    }

    pub(super) fn take_view(&mut self) -> Option<AgentView> {
        self.view.take()
    }

    /// The request's headers, so that the answer can be shown.
    pub(super) fn headers_for_view<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, HeaderMap> {
        match self.view {
            Some(_) => Cow::Owned(view::request_headers(headers)),
            None => Cow::Borrowed(headers),
        }
    }

    /// Which placeholders the agent was given.
    pub(super) fn showed(&mut self, issued: Issued) {
        self.change(|record| record.view_placeholders = issued.digests);
    }

    /// Of an answer that did not come to its end.
    pub(super) fn showed_of(&mut self, view: Option<View>) {
        if let Some(view) = view {
            self.showed(view.abandon());
        }
    }

    /// Decoys are in the answer, or are given to pods.
    pub(super) fn caught(&self, decoys: Vec<SecretName>, how: &str) {
        let Some(record) = &self.record else { return };
        for decoy in decoys {
            self.recorder.metrics.decoys_read.inc();
            self.recorder.alerts.decoy_read(record, &decoy, how);
            self.recorder.decoys.read(record, decoy);
        }
    }

    /// Takes room in the principal's budget until the outcome is appended.
    pub(super) async fn reserve(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let room = self.room(bytes).await?;
        self.keep(room);
        Ok(())
    }

    /// Takes room in the principal's budget; none once the outcome is on its way.
    pub(super) async fn room(&self, bytes: usize) -> Result<Option<Room>, NoRoom> {
        match &self.held {
            Some(held) => held
                .admission
                .principal
                .buffered
                .take(bytes)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Which request for approval let the call pass, and who approved it.
    pub(super) fn approved(&self) -> Option<(&str, &str)> {
        let approval = self.record.as_ref()?.approval.as_ref()?;
        let by = approval
            .by
            .as_deref()
            .filter(|_| approval.state == APPROVED);
        by.map(|by| (&*approval.id, by))
    }

    /// Keeps room in the budget until the outcome is appended.
    pub(super) fn keep(&mut self, room: Option<Room>) {
        let kept = self.held.as_mut().map(|held| &mut held.room);
        match (kept, room) {
            (Some(Some(kept)), Some(room)) => kept.join(room),
            (Some(kept @ None), room) => *kept = room,
            _ => {}
        }
    }

    /// Room that what a program prints takes as it comes.
    pub(super) fn growing(&self) -> Option<Growing> {
        let held = self.held.as_ref()?;
        Some(Growing::new(Arc::clone(&held.admission.principal)))
    }

    /// Records more than was known when the call came.
    pub(super) fn raise(
        &mut self,
        level: Level,
        arrival: &Arrival,
        info: &RequestInfo,
        body: &Bytes,
    ) {
        let recorder = Arc::clone(&self.recorder);
        self.change(|record| {
            record.level = level;
            recorder.describe_request(record, arrival, info, body);
        });
    }

    /// As it is so far.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_deref()
    }

    pub(super) fn level(&self) -> Level {
        self.record
            .as_ref()
            .map_or(Level::Metadata, |record| record.level)
    }

    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// The call may be sent. Where policies are only observed, its record says what they would have made of it.
    pub(super) fn allowed(&mut self, permit: &Permit) {
        let would_be = permit.would_be();
        let decision = would_be.map_or(DecisionKind::Allow, |would_be| would_be.decision);
        self.change(|record| {
            record.decision = Some(decision);
            record.rule = Some(permit.rule().to_owned());
            record.policy_digest = Some(permit.policy_digest().to_owned());
        });
        self.risky(permit.risk());
    }

    /// What the call could do, whatever was decided, as it may be told: reasons may quote the object.
    pub(super) fn risky(&mut self, risk: &Risk) -> Risk {
        let masked = |reason: &String| mask::text(self.key(), reason).into_inner();
        let risk = Risk {
            level: risk.level,
            reasons: risk.reasons.iter().map(masked).collect(),
        };
        self.change(|record| {
            record.risk = Some(risk.level.as_str());
            record.risk_reasons.clone_from(&risk.reasons);
        });
        risk
    }

    /// Nothing is sent, also where policies are only observed.
    pub(super) fn denied(&mut self, denial: &Denial) {
        self.change(|record| {
            record.enforcement = Enforcement::Enforce;
            record.decision = Some(DecisionKind::Deny);
            record.rule = Some(denial.rule.clone());
        });
    }

    /// People are asked from now on: durable before it is waited for.
    pub(super) async fn held(
        &mut self,
        pending: &PendingPermit,
        approval: Approval,
    ) -> Result<(), NotRecorded> {
        self.intended().await?;
        self.hold = Some(Instant::now());
        self.change(|record| {
            // What people decide is in the record, whatever the level policy leaves out.
            record.level = record.level.max(Level::Metadata);
            record.decision = Some(DecisionKind::Hold);
            record.rule = Some(pending.rule().to_owned());
            record.policy_digest = Some(pending.policy_digest().to_owned());
            record.approval = Some(approval);
        });
        self.risky(pending.risk());
        self.note_hold().await
    }

    /// What became of the question. Durable before anything is forwarded.
    pub(super) async fn settled(
        &mut self,
        settle: impl FnOnce(&mut Approval),
    ) -> Result<(), NotRecorded> {
        self.change(|record| settle(record.approval.get_or_insert_default()));
        self.note_hold().await
    }

    /// People did not let it pass, which the outcome says.
    pub(super) fn refused(&mut self, why: &NotApproved, settle: impl FnOnce(&mut Approval)) {
        self.change(|record| {
            record.decision = Some(DecisionKind::Deny);
            let approval = record.approval.get_or_insert_default();
            settle(approval);
            approval.state = match why {
                NotApproved::Denied { .. } => "denied",
                NotApproved::Expired | NotApproved::Open { .. } => "expired",
                NotApproved::Withdrawn => "withdrawn",
                NotApproved::UsedUp => "used",
                NotApproved::OtherCall | NotApproved::NotMarked | NotApproved::StricterTerms => {
                    "void"
                }
            };
        });
    }

    pub(super) fn key(&self) -> &Arc<mask::Key> {
        &self.recorder.key
    }

    /// A row of its own for the hold as it is now.
    async fn note_hold(&mut self) -> Result<(), NotRecorded> {
        let held = self.held_micros();
        let Some(record) = &mut self.record else {
            return Ok(());
        };
        record.stage_timestamp = Timestamp::now();
        record.held_micros = held;
        let Some(held) = &self.held else {
            return Ok(());
        };
        let principal = Arc::clone(&held.admission.principal);
        self.recorder.note(record, principal).await
    }

    fn held_micros(&self) -> Option<i64> {
        i64::try_from(self.hold?.elapsed().as_micros()).ok()
    }

    /// The policies that were in force.
    pub(super) fn judged_by(&mut self, policy_digest: &str) {
        self.change(|record| record.policy_digest = Some(policy_digest.to_owned()));
    }

    /// From here on an interruption leaves the outcome unknown.
    pub(super) fn sent(&mut self) {
        self.phase = Phase::Sent;
    }

    /// The API server has certainly not carried it out.
    pub(super) fn not_carried_out(&mut self) {
        self.phase = Phase::Judging;
    }

    /// Begins a call that the gateway makes for a decision on this one, by a rule and policies.
    pub(super) async fn aside(
        &self,
        arrival: &Arrival,
        identity: &Identity,
        asked: &RequestInfo,
        allowed_by: (&str, &str),
    ) -> Result<Aside, NotRecorded> {
        let held = self.held.as_ref().ok_or(NotRecorded::Closed)?;
        let principal = Arc::clone(&held.admission.principal);
        let recorder = &self.recorder;
        Aside::begin(recorder, principal, arrival, identity, asked, allowed_by).await
    }

    /// The answer's head has come.
    pub(super) fn answering(&mut self, code: StatusCode) {
        self.phase = Phase::Answering;
        self.change(|record| {
            record.response_status = Some(ResponseStatus {
                code: i32::from(code.as_u16()),
                ..ResponseStatus::default()
            });
        });
    }

    /// What passed of the answer's body.
    pub(super) fn answered(&mut self, recorded: RecordedBody) {
        self.caught(recorded.findings.decoys.clone(), decoys::READ);
        self.change(|record| {
            let findings = &recorded.findings;
            record.response_bytes = i64::try_from(recorded.bytes).ok();
            record.masked_response = i32::try_from(findings.masked).ok();
            record.item_count = findings
                .item_count
                .and_then(|count| i64::try_from(count).ok());
            record.response_digest = (recorded.bytes > 0).then_some(recorded.digest);
            // A Secret that was written comes back in the answer: it is one Secret all the same.
            let sent = record.secrets_seen.len();
            for secret in secrets_seen(findings) {
                if !record.secrets_seen[..sent].contains(&secret) {
                    record.secrets_seen.push(secret);
                }
            }
            learn(record, findings);
            note_body_state(record, &recorded.body);
            record.response_object = recorded.body.into_object();
        });
    }

    /// What passed of an upgraded connection, and why it ended where neither side ended it in order.
    pub(super) fn tunnelled(&mut self, up: u64, down: u64, broken: Option<&str>) {
        let message = broken.map(|text| mask::text(&self.recorder.key, text));
        self.change(|record| {
            record.request_bytes = i64::try_from(up).ok();
            record.response_bytes = i64::try_from(down).ok();
            if let Some(status) = &mut record.response_status {
                status.message = message;
            }
        });
    }

    /// What a program and its client said on it, and how the program ended.
    pub(super) fn heard(&mut self, heard: Option<Heard>) {
        let Some(heard) = heard else { return };
        self.keep(heard.room);
        self.change(|record| {
            let some = |bytes: Option<i64>| bytes.is_some_and(|bytes| bytes > 0);
            record.request_digest = some(record.request_bytes).then_some(heard.digest_up);
            record.response_digest = some(record.response_bytes).then_some(heard.digest_down);
            record.masked_request = heard.masked_up.and_then(|count| i32::try_from(count).ok());
            record.masked_response = i32::try_from(heard.masked_down).ok();
            record.body_state = match heard.is_read {
                true => heard.object.as_ref().map(|_| BodyState::Inline),
                false => Some(BodyState::DigestOnly),
            };
            record.response_object = heard.object;
            if let (Some(exit), Some(status)) = (heard.exit, &mut record.response_status) {
                status.status = exit.status;
                status.reason = exit.reason;
                // Why the gateway ended it goes before.
                status.message = status.message.take().or(exit.message);
            }
        });
    }

    /// Whether what a program says is recorded.
    pub(super) fn wants_session(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            let is_session = |object: &ObjectRef| {
                object.api_group.is_empty()
                    && object.resource == "pods"
                    && matches!(object.subresource.as_str(), "attach" | "exec")
            };
            record.level >= Level::RequestResponse
                && record.object_ref.as_ref().is_some_and(is_session)
        })
    }

    /// The gateway ended what it had begun to pass on.
    pub(super) fn broken_off(&mut self, why: &str) {
        let message = mask::text(&self.recorder.key, why);
        self.change(|record| {
            if let Some(status) = &mut record.response_status {
                status.message = Some(message);
            }
        });
    }

    /// The gateway's own answer is the outcome.
    pub(super) async fn rejected(mut self, rejection: &Rejection) -> Result<(), NotRecorded> {
        self.refuse(rejection);
        let outcome = match rejection {
            Rejection::OutcomeUnknown(_) => Outcome::Unknown,
            _ => Outcome::Complete,
        };
        self.finish(outcome).await
    }

    /// The intent could not be recorded, so an outcome would be one of a call that is not in the record:
    /// only the access line and the metrics tell of it.
    pub(super) fn unrecorded(mut self, rejection: &Rejection) {
        self.refuse(rejection);
        drop(self.end(Outcome::Complete));
    }

    fn refuse(&mut self, rejection: &Rejection) {
        let message = mask::text(&self.recorder.key, &rejection.message());
        self.change(|record| {
            record.level = record.level.max(Level::Metadata);
            if record.decision.is_none() {
                record.enforcement = Enforcement::Enforce;
                record.decision = Some(DecisionKind::Deny);
            }
            record
                .rule
                .get_or_insert_with(|| format!("gateway/{}", rejection.label()));
            record.response_status = Some(ResponseStatus {
                code: i32::from(rejection.code().as_u16()),
                status: Some("Failure".to_owned()),
                reason: Some(rejection.reason().to_owned()),
                message: Some(message),
            });
        });
    }

    /// Waits until the intent is durable.
    pub(super) async fn intended(&mut self) -> Result<(), NotRecorded> {
        let Some(intent) = &mut self.intent else {
            return Ok(());
        };
        // Taken only once it is known: who stops waiting here leaves it to the outcome to wait.
        let recorded = intent.await;
        self.intent = None;
        recorded
    }

    /// Records the outcome of a read that may lag, without waiting for it.
    pub(super) fn finish_later(mut self, outcome: Outcome) {
        drop(self.close(outcome));
    }

    /// Makes the outcome durable. The append goes on if the caller stops waiting for it.
    pub(super) async fn finish(mut self, outcome: Outcome) -> Result<(), NotRecorded> {
        match self.close(outcome) {
            Some(append) => append.await,
            None => Ok(()),
        }
    }

    fn close(&mut self, outcome: Outcome) -> Option<Append> {
        let record = self.end(outcome)?;
        let intent = self.intent.take();
        let held = self.held.take()?;
        (record.level > Level::None).then(|| self.recorder.append_after(intent, &record, held))
    }

    /// Takes the finished record and tells of it in the access line.
    fn end(&mut self, outcome: Outcome) -> Option<Box<Record>> {
        let mut record = self.record.take()?;
        let duration = self.started.elapsed();
        let code = record.response_status.as_ref().map(|status| status.code);
        if outcome != Outcome::Complete || code.is_none_or(|code| code >= 400) {
            // What failed is at least noted, whatever the level policy leaves out.
            record.level = record.level.max(Level::Metadata);
        }
        if outcome == Outcome::Aborted
            && let Some(approval) = &mut record.approval
            && approval.state == PENDING
        {
            // The client left before people decided.
            approval.state = "withdrawn";
        }
        if record.decision != Some(DecisionKind::Allow) {
            record.held_micros = self.held_micros();
        }
        record.stage = Stage::ResponseComplete;
        record.outcome = Some(outcome);
        record.stage_timestamp = Timestamp::now();
        record.duration_micros = i64::try_from(duration.as_micros()).ok();
        note(&self.recorder.metrics, &record, duration);
        Some(record)
    }

    fn change(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let outcome = match self.phase {
            Phase::Sent => Outcome::Unknown,
            Phase::Judging | Phase::Answering => Outcome::Aborted,
        };
        if let Some(append) = self.close(outcome) {
            tracing::debug!("recording a call that was interrupted");
            drop(append);
        }
    }
}

/// What the answer says of the object: a created object's name, its uid and version, a failure's reason.
fn learn(record: &mut Record, findings: &Findings) {
    let facts = &findings.facts;
    if let Some(status) = &facts.status {
        if let Some(ours) = &mut record.response_status {
            ours.status.clone_from(&status.status);
            ours.reason.clone_from(&status.reason);
            ours.message.clone_from(&status.message);
        }
        return;
    }
    let Some(object) = &mut record.object_ref else {
        return;
    };
    let single = record.item_count.is_none() && object.subresource.is_empty();
    if !single {
        return;
    }
    if object.name.is_empty() {
        object.name = facts.name.clone().unwrap_or_default();
    }
    object.uid = facts.uid.clone().unwrap_or_default();
    object.resource_version = facts.resource_version.clone().unwrap_or_default();
}

/// The access line and the metrics of one call.
fn note(metrics: &Metrics, record: &Record, duration: Duration) {
    metrics.call(record, duration);
    let empty = ObjectRef::default();
    let object = record.object_ref.as_ref().unwrap_or(&empty);
    tracing::info!(
        target: "access",
        audit_id = record.audit_id,
        user = record.user.as_ref().map(|user| user.username.as_str()),
        agent = record.agent.as_ref().map(|agent| agent.name.as_str()),
        verb = record.verb,
        resource = object.resource,
        subresource = object.subresource,
        namespace = object.namespace,
        name = object.name,
        code = record.response_status.as_ref().map(|status| status.code),
        decision = record.decision.map(DecisionKind::as_str),
        rule = record.rule,
        outcome = record.outcome.map(Outcome::as_str),
        duration_micros = record.duration_micros,
        "call"
    );
}
